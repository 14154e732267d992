"""Self-attention with normalized queries and keys.

Letters: A heads, B batch, N tokens (M of keys), D model dims, K dims per head.
"""

import math

import jax
from jax import ad_checkpoint
from jax import numpy as jnp
from pax_softmoe.layers import checks
from pax_softmoe.layers import gathering
from pax_softmoe.layers import initializers
from praxis import base_layer
from praxis import pytypes

JTensor = pytypes.JTensor
SplitDimsMapping = pytypes.SplitDimsMapping
WeightHParams = base_layer.WeightHParams
WeightInit = base_layer.WeightInit

_NORM_EPSILON = 1e-6


class SelfAttention(base_layer.BaseLayer):
  """Bidirectional multi-head self-attention, heads before tokens.

  Queries and keys pass a LayerNorm over the dims of their head that has a
  scale and no bias (QK-norm, as in ViT-22B). Its mean is taken from the weights
  instead: the mean over head dims of `x W + b` is `x mean(W) + mean(b)`, and
  weights are far smaller than activations.

  All tensors have heads first and tokens last, `abkn`, from the projections on:
  the products then need no transposes on TPU, and heads of 80 dims no padding.
  That, and the backward pass of `attend`, is what praxis' attention, which has
  QK-norm as `ln_tpl`, does not do.

  Products are of `fprop_dtype`; norms, scores, softmax and sums are in float32,
  or in float64 where `fprop_dtype` is that.

  Attributes:
    input_dims: D.
    num_heads: A; divides D.
    qk_norm: whether queries and keys are normalized.
  """

  input_dims: int = 0
  num_heads: int = 0
  qk_norm: bool = True

  class WeightSharding(base_layer.BaseLayer.WeightSharding):
    """How weights are split over the mesh, by their letters.

    Attributes:
      dak: of `wq`, `wk` and `wv`.
      akd: of `wo`.
      ak: of `bq`, `bk` and `bv`.
    """

    dak: SplitDimsMapping = None
    akd: SplitDimsMapping = None
    ak: SplitDimsMapping = None

  class ActivationSharding(base_layer.BaseLayer.ActivationSharding):
    """How activations are split over the mesh, by their letters.

    Attributes:
      bnd: tokens, in and out.
      abkn: queries, keys, values and what is read from the values.
    """

    bnd: SplitDimsMapping = None
    abkn: SplitDimsMapping = None

  def setup(self) -> None:
    checks.common(self)
    checks.whole(self, 'input_dims', 'num_heads')
    checks.flag(self, 'qk_norm')
    if self.input_dims % self.num_heads:
      raise ValueError(
          f'SelfAttention: {self.input_dims} model dims cannot be split into'
          f' {self.num_heads} heads; use a divisor'
      )
    d, a = self.input_dims, self.num_heads
    k = d // a
    wp = self.weight_split_dims_mapping
    kernel_init = initializers.xavier_uniform(d, d)
    for name in ('q', 'k', 'v'):
      self._create('w' + name, [d, a, k], kernel_init, wp.dak)
      self._create('b' + name, [a, k], WeightInit.Constant(0.0), wp.ak)
    self._create('wo', [a, k, d], kernel_init, wp.akd)
    self._create('bo', [d], WeightInit.Constant(0.0), [None])
    if self.qk_norm:
      self._create('q_scale', [k], WeightInit.Constant(1.0), [None])
      self._create('k_scale', [k], WeightInit.Constant(1.0), [None])

  def _create(self, name, shape, init, split) -> None:
    self.create_variable(
        name,
        WeightHParams(
            shape=shape,
            init=init,
            mesh_shape=self.mesh_shape,
            tensor_split_dims_mapping=split,
        ),
    )

  def _project(self, inputs: JTensor, name: str) -> JTensor:
    """Returns [A, B, K, N] of inputs [B, N, D], with mean 0 if normalized."""
    weights = getattr(self.theta, 'w' + name)
    bias = getattr(self.theta, 'b' + name)
    if self.qk_norm and name != 'v':
      weights, bias = _center(weights), _center(bias)
    weights = self._gather(weights, self.weight_split_dims_mapping.dak, 0)
    x = jnp.einsum('bnd,dak->abkn', inputs, weights) + bias[:, None, :, None]
    split = self.activation_split_dims_mapping.abkn
    return base_layer.maybe_shard(x, split, self.mesh_axis_names)

  def _gather(
      self, weights: JTensor, split: SplitDimsMapping, dim: int
  ) -> JTensor:
    return gathering.gather(
        weights, split, dim, self.mesh_shape, self.mesh_axis_names
    )

  def __call__(self, inputs: JTensor) -> JTensor:
    """Attends from every token to every token.

    Args:
      inputs: [B, N, D].

    Returns:
      [B, N, D] in the dtype of `inputs`.
    """
    checks.array(self, 'inputs', inputs, 'BND', D=self.input_dims)
    ap = self.activation_split_dims_mapping
    tokens = inputs.astype(self.fprop_dtype)
    q, k, v = (self._project(tokens, name) for name in 'qkv')
    scale = 1 / math.sqrt(q.shape[2])
    if self.qk_norm:
      # Both scales and the root of K meet in every score: one factor for all.
      scale *= self.theta.q_scale * self.theta.k_scale
      q = _to_unit_variance(q)
      k = _to_unit_variance(k, scale.astype(_wide(k))[:, None])
    else:
      k *= scale
    context = attend(q, k, v)
    context = base_layer.maybe_shard(context, ap.abkn, self.mesh_axis_names)
    weights = self._gather(self.theta.wo, self.weight_split_dims_mapping.akd, 2)
    outputs = jnp.einsum('abkn,akd->bnd', context, weights)
    outputs += self.theta.bo
    outputs = outputs.astype(inputs.dtype)
    return base_layer.maybe_shard(outputs, ap.bnd, self.mesh_axis_names)


def _wide(x: JTensor) -> jnp.dtype:
  """Returns the dtype in which to sum what is of the dtype of `x`."""
  return jnp.promote_types(x.dtype, jnp.float32)


def _center(x: JTensor) -> JTensor:
  """Returns [..., K] minus its mean over the last axis."""
  mean = jnp.mean(x.astype(_wide(x)), axis=-1, keepdims=True)
  return x - mean.astype(x.dtype)


def _to_unit_variance(x: JTensor, scale: JTensor | float = 1.0) -> JTensor:
  """Returns [A, B, K, N] of mean 0 over K brought to variance 1, and scaled."""
  wide = x.astype(_wide(x))
  squares = jnp.square(wide)
  root = jax.lax.rsqrt(jnp.mean(squares, axis=2, keepdims=True) + _NORM_EPSILON)
  return (wide * root * scale).astype(x.dtype)


@jax.custom_vjp
def attend(q: JTensor, k: JTensor, v: JTensor) -> JTensor:
  """Returns the values that each query reads: `softmax_m(q^T k) v`.

  The backward pass computes the N x N weights again from `q`, `k` and the
  logarithm of each query's sum: they are read and written less often than what
  autodiff would keep, and never kept.

  Args:
    q: [A, B, K, N] queries, scaled.
    k: [A, B, K, M] keys.
    v: [A, B, K, M] values.

  Returns:
    [A, B, K, N] in the dtype of `v`; scores, softmax and sums are in float32,
    or float64 of float64.
  """
  return _attend_forward(q, k, v)[0]


def _scores(q: JTensor, k: JTensor) -> JTensor:
  # Keys before queries: a sum over keys then stays within a lane of the TPU.
  return jnp.einsum('abkn,abkm->abmn', q, k, preferred_element_type=_wide(q))


def _attend_forward(q, k, v):
  scores = _scores(q, k)
  peak = jnp.max(scores, axis=2, keepdims=True)
  weights = jnp.exp(scores - peak).astype(v.dtype)
  # A row of ones among the values makes the product sum the weights as well.
  ones = jnp.ones_like(v[:, :, :1])
  read = jnp.einsum(
      'abmn,abkm->abkn',
      weights,
      jnp.concatenate([v, ones], axis=2),
      preferred_element_type=_wide(v),
  )
  total = read[:, :, -1:]
  context = (read[:, :, :-1] / total).astype(v.dtype)
  context = ad_checkpoint.checkpoint_name(context, 'attention_context')
  log_sum = ad_checkpoint.checkpoint_name(
      peak + jnp.log(total), 'attention_log_sum'
  )
  return context, (q, k, v, context, log_sum)


def _attend_backward(residuals, gradient):
  q, k, v, context, log_sum = residuals
  weights = jnp.exp(_scores(q, k) - log_sum)
  by_weight = _scores(gradient, v)
  # d softmax: each weight's gradient less the query's weighted mean of them.
  mean = jnp.sum(
      gradient.astype(_wide(v)) * context.astype(_wide(v)),
      axis=2,
      keepdims=True,
  )
  by_score = (weights * (by_weight - mean)).astype(v.dtype)
  return (
      jnp.einsum('abmn,abkm->abkn', by_score, k),
      jnp.einsum('abmn,abkn->abkm', by_score, q),
      jnp.einsum('abmn,abkn->abkm', weights.astype(v.dtype), gradient),
  )


attend.defvjp(_attend_forward, _attend_backward)
