"""Feed-forward layers of transformers, dense or a mixture of experts."""

from typing import Any

import jax
from jax import numpy as jnp
from pax_softmoe import routing
from pax_softmoe.layers import activations
from pax_softmoe.layers import checks
from pax_softmoe.layers import soft_moe
from praxis import base_layer
from praxis import pax_fiddle
from praxis import pytypes
from praxis.layers import normalizations
from praxis.layers import stochastics
from praxis.layers import transformers

JTensor = pytypes.JTensor
LayerTpl = pax_fiddle.Config[base_layer.BaseLayer]
template_field = base_layer.template_field

NORM_POLICIES = ('pre', 'primer_hybrid', 'post', 'post_skip')


class LayerNorm(normalizations.LayerNorm):
  """LayerNorm as in the official code: both moments in one pass.

  Computed in float32, or float64 of float64 inputs.
  """

  direct_scale: bool = True

  def __call__(
      self, inputs: JTensor, paddings: JTensor | None = None
  ) -> JTensor:
    """Normalizes [..., D] over its last axis; `paddings` changes nothing."""
    x = inputs.astype(jnp.promote_types(inputs.dtype, jnp.float32))
    mean = jnp.mean(x, axis=-1, keepdims=True)
    squares = jnp.mean(jnp.square(x), axis=-1, keepdims=True)
    variance = jnp.maximum(squares - jnp.square(mean), 0)
    x = (x - mean) * jax.lax.rsqrt(variance + self.epsilon)
    x = x * self.theta.scale.astype(x.dtype) + self.theta.bias.astype(x.dtype)
    return x.astype(inputs.dtype)


class DenseFeedForward(transformers.TransformerFeedForward):
  """The dense layer of the paper: `x + mlp(norm(x))`, tanh-approximate GELU."""

  activation_tpl: LayerTpl = template_field(activations.GELU)
  ln_tpl: LayerTpl = template_field(LayerNorm)


class MoEFeedForward(base_layer.BaseLayer):
  """Norm, mixture of experts, and residual: `x + moe(norm(x))`.

  It has the fields that praxis sets on a feed-forward layer, so that it fits
  `Transformer.tr_fflayer_tpl` and `StackedTransformer.moe_layer_tpl`, there and
  in `StackedTransformerRepeated`.

  Attributes:
    input_dims: D.
    hidden_dims: H of each expert.
    moe_tpl: the mixture, `SoftMoE` or one of its siblings.
    ln_tpl: the norm.
    norm_policy: where the norm goes, as in praxis: 'pre', 'primer_hybrid',
      'post' or 'post_skip'.
    num_experts: if not 0, set on `moe_tpl`.
    relu_dropout_prob: dropout of the experts' hidden dims.
    residual_dropout_prob: dropout of what is added to the residual.
    residual_droppath_prob: probability of dropping the whole branch.
    num_groups: set by `StackedTransformer`; without effect, since each layer
      in this package says itself which tokens are routed together.
    min_group_size: as `num_groups`.
    gating_func: as `num_groups`; `moe_tpl` is the choice of router.
  """

  input_dims: int = 0
  hidden_dims: int = 0
  moe_tpl: LayerTpl = template_field(soft_moe.SoftMoE)
  ln_tpl: LayerTpl = template_field(LayerNorm)
  norm_policy: str = 'pre'
  num_experts: int = 0
  relu_dropout_prob: float = 0.0
  residual_dropout_prob: float = 0.0
  residual_droppath_prob: float = 0.0
  num_groups: int = 1
  min_group_size: int | None = None
  gating_func: str = ''

  def setup(self) -> None:
    checks.common(self)
    checks.choice(self, 'norm_policy', NORM_POLICIES)
    checks.whole(self, 'input_dims', 'hidden_dims')
    checks.whole(self, 'num_experts', least=0)
    checks.probability(
        self,
        'relu_dropout_prob',
        'residual_dropout_prob',
        'residual_droppath_prob',
    )
    norm = self.ln_tpl.clone().set(dim=self.input_dims)
    if self.norm_policy == 'primer_hybrid':
      self.create_child('pre_layer_norm', norm)
      self.create_child('post_layer_norm', norm.clone())
    else:
      self.create_child('layer_norm', norm)
    moe = self.moe_tpl.clone().set(
        input_dims=self.input_dims,
        hidden_dims=self.hidden_dims,
        dropout_prob=self.relu_dropout_prob,
    )
    if self.num_experts:
      moe.num_experts = self.num_experts
    self.create_child('moe', moe)
    self.create_child(
        'residual_dropout',
        pax_fiddle.Config(
            stochastics.Dropout, keep_prob=1.0 - self.residual_dropout_prob
        ),
    )
    if self.residual_droppath_prob:
      self.create_child(
          'residual_droppath',
          pax_fiddle.Config(
              stochastics.StochasticResidual,
              survival_prob=1.0 - self.residual_droppath_prob,
          ),
      )

  def __call__(
      self, inputs: JTensor, paddings: JTensor | None = None
  ) -> JTensor:
    """Applies the block.

    Args:
      inputs: [B, N, D].
      paddings: [B, N], 1 for a padded token, or None. What padded tokens hold,
        NaN too, reaches no other, and their rows of the result are zero.

    Returns:
      [B, N, D] in the dtype of `inputs`.

    Raises:
      ValueError: shape or dtype of an array is not such.
    """
    inputs = jnp.asarray(inputs)
    checks.array(self, 'inputs', inputs, 'BND', D=self.input_dims)
    if paddings is None:
      return self._block(inputs, None)
    padded = routing.padding_mask(
        paddings, inputs.shape[:2], type(self).__name__
    )[..., None]
    # The residual passes by the mixture, and some policies norm at the end.
    outputs = self._block(jnp.where(padded, 0, inputs), padded[..., 0])
    return jnp.where(padded, 0, outputs)

  def _block(self, inputs: JTensor, paddings: JTensor | None) -> JTensor:
    x = inputs
    if self.norm_policy == 'pre':
      x = self.layer_norm(x)
    elif self.norm_policy == 'primer_hybrid':
      x = self.pre_layer_norm(x)
    x = self.moe(x, paddings)
    if self.norm_policy == 'post':
      x = self.layer_norm(x)
    elif self.norm_policy == 'primer_hybrid':
      x = self.post_layer_norm(x)
    x = self.residual_dropout(x)
    if self.residual_droppath_prob:
      x = self.residual_droppath(inputs, x)
    else:
      x = inputs + x
    return self.layer_norm(x) if self.norm_policy == 'post_skip' else x

  def extend_step(self, inputs: JTensor, *, time_step: JTensor) -> Any:
    """Raises: a mixture over the sequence cannot be decoded step by step."""
    raise NotImplementedError(
        'MoEFeedForward mixes tokens over the whole sequence, later ones into'
        ' earlier ones, so it cannot decode token by token; use it in encoders'
    )
