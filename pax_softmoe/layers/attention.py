"""Self-attention with normalized queries and keys."""

import math

import jax
from jax import ad_checkpoint
from jax import numpy as jnp
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
  scale and no bias (QK-norm, as in ViT-22B; praxis' attention has none). All
  tensors are head-major, `bank`, from the projections on: TPUs then need no
  transposes around the two products.

  Letters: b batch, n tokens, d model dims, a heads, k dims per head.

  Attributes:
    input_dims: D.
    num_heads: A; divides D.
  """

  input_dims: int = 0
  num_heads: int = 0

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
      bank: queries, keys, values and what is read from the values.
    """

    bnd: SplitDimsMapping = None
    bank: SplitDimsMapping = None

  def setup(self) -> None:
    if self.num_heads < 1 or self.input_dims % self.num_heads:
      raise ValueError(
          f'SelfAttention: {self.input_dims} model dims cannot be split into'
          f' {self.num_heads} heads; use a divisor'
      )
    d, a = self.input_dims, self.num_heads
    k = d // a
    wp = self.weight_split_dims_mapping
    kernel_init = WeightInit.Uniform(math.sqrt(6 / (d + d)))
    for name in ('q', 'k', 'v'):
      self._create('w' + name, [d, a, k], kernel_init, wp.dak)
      self._create('b' + name, [a, k], WeightInit.Constant(0.0), wp.ak)
    self._create('wo', [a, k, d], kernel_init, wp.akd)
    self._create('bo', [d], WeightInit.Constant(0.0), [None])
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
    """Returns [B, A, N, K] of inputs [B, N, D]."""
    weights = getattr(self.theta, 'w' + name)
    bias = getattr(self.theta, 'b' + name)
    x = jnp.einsum('bnd,dak->bank', inputs, weights) + bias[:, None, :]
    split = self.activation_split_dims_mapping.bank
    return base_layer.maybe_shard(x, split, self.mesh_axis_names)

  def __call__(self, inputs: JTensor) -> JTensor:
    """Attends from every token to every token.

    Args:
      inputs: [B, N, D].

    Returns:
      [B, N, D].
    """
    ap = self.activation_split_dims_mapping
    q = head_norm(self._project(inputs, 'q'), self.theta.q_scale)
    k = head_norm(self._project(inputs, 'k'), self.theta.k_scale)
    v = self._project(inputs, 'v')
    q = q / math.sqrt(q.shape[-1])
    logits = jnp.einsum(
        'bank,bamk->banm', q, k, preferred_element_type=jnp.float32
    )
    weights = jax.nn.softmax(logits, axis=-1).astype(v.dtype)
    context = jnp.einsum('banm,bamk->bank', weights, v)
    context = base_layer.maybe_shard(context, ap.bank, self.mesh_axis_names)
    context = ad_checkpoint.checkpoint_name(context, 'attention_context')
    outputs = jnp.einsum('bank,akd->bnd', context, self.theta.wo)
    outputs += self.theta.bo
    return base_layer.maybe_shard(outputs, ap.bnd, self.mesh_axis_names)


def head_norm(x: JTensor, scale: JTensor) -> JTensor:
  """Returns LayerNorm over the last axis of [..., K], without a bias."""
  dtype = x.dtype
  x = x.astype(jnp.float32)
  x = x - jnp.mean(x, axis=-1, keepdims=True)
  variance = jnp.mean(jnp.square(x), axis=-1, keepdims=True)
  x = x * jax.lax.rsqrt(variance + _NORM_EPSILON) * scale.astype(x.dtype)
  return x.astype(dtype)
