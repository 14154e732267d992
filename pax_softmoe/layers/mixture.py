"""What every mixture of experts has, whatever its routing."""

from typing import Any

from jax import ad_checkpoint
from jax import numpy as jnp
from pax_softmoe import routing
from pax_softmoe.layers import activations
from pax_softmoe.layers import checks
from pax_softmoe.layers import experts
from praxis import base_layer
from praxis import pax_fiddle
from praxis import pytypes

JTensor = pytypes.JTensor
LayerTpl = pax_fiddle.Config[base_layer.BaseLayer]
SplitDimsMapping = pytypes.SplitDimsMapping
template_field = base_layer.template_field


class MixtureOfExperts(base_layer.BaseLayer):
  """Experts, and the way of slots to them and back. Subclasses route.

  Tokens, slots and experts are computed in `fprop_dtype`, whatever dtype the
  inputs have, and the result is brought to the inputs' dtype. What a learned
  router computes is in its `router_dtype`, or in float64 where `fprop_dtype` is
  that.

  Attributes:
    input_dims: D.
    hidden_dims: H of each expert.
    num_experts: E.
    activation_tpl: activation of the experts.
    dropout_prob: dropout of the experts' hidden dims.
    identical_expert_init: whether all experts start with the same weights.
    exchange_parts: in how many parts of the batch slots go to their experts and
      back. On TPUs one part crosses chips while another is computed. A batch
      that has not as many images goes in one.
  """

  input_dims: int = 0
  hidden_dims: int = 0
  num_experts: int = 0
  activation_tpl: LayerTpl = template_field(activations.GELU)
  dropout_prob: float = 0.0
  identical_expert_init: bool = True
  exchange_parts: int = 1

  class WeightSharding(base_layer.BaseLayer.WeightSharding):
    """How weights are split over the mesh, by their letters.

    Attributes:
      edh, ehd, eh, ed: of the experts, see `ExpertMlps`.
    """

    edh: SplitDimsMapping = None
    ehd: SplitDimsMapping = None
    eh: SplitDimsMapping = None
    ed: SplitDimsMapping = None

  class ActivationSharding(base_layer.BaseLayer.ActivationSharding):
    """How activations are split over the mesh, by their letters.

    Attributes:
      bnd: tokens, in and out.
      ebpd, ebph: slots where their experts live, see `ExpertMlps`.
    """

    bnd: SplitDimsMapping = None
    ebpd: SplitDimsMapping = None
    ebph: SplitDimsMapping = None

  def setup(self) -> None:
    checks.common(self)
    checks.whole(self, 'input_dims', 'hidden_dims', 'num_experts')
    checks.whole(self, 'exchange_parts')
    checks.probability(self, 'dropout_prob')
    checks.flag(self, 'identical_expert_init')
    wp = self.weight_split_dims_mapping
    ap = self.activation_split_dims_mapping
    experts_tpl = pax_fiddle.Config(
        experts.ExpertMlps,
        input_dims=self.input_dims,
        hidden_dims=self.hidden_dims,
        num_experts=self.num_experts,
        activation_tpl=self.activation_tpl,
        dropout_prob=self.dropout_prob,
        identical_init=self.identical_expert_init,
    )
    for letters in ('edh', 'ehd', 'eh', 'ed'):
      setattr(
          experts_tpl.weight_split_dims_mapping, letters, getattr(wp, letters)
      )
    for letters in ('ebpd', 'ebph'):
      setattr(
          experts_tpl.activation_split_dims_mapping,
          letters,
          getattr(ap, letters),
      )
    self.create_child('experts', experts_tpl)

  def __call__(
      self, inputs: JTensor, paddings: JTensor | None = None
  ) -> JTensor:
    """Sends tokens through the experts.

    Args:
      inputs: [B, N, D] tokens.
      paddings: [B, N] of any real dtype, 1 for a padded token, or None. What
        padded tokens hold, NaN too, reaches no other token, no slot and no
        loss, and their rows of the result are zero.

    Returns:
      [B, N, D] in the dtype of `inputs`.

    Raises:
      ValueError: shape or dtype of an array is not such, or the subclass cannot
        route so many.
    """
    inputs = jnp.asarray(inputs)
    checks.array(self, 'inputs', inputs, 'BND', D=self.input_dims)
    tokens = self._shard(inputs, 'bnd').astype(self.fprop_dtype)
    if paddings is None:
      outputs = self._route(tokens, None).astype(inputs.dtype)
    else:
      padded = routing.padding_mask(
          paddings, inputs.shape[:2], type(self).__name__
      )
      # Weights of zero are not enough: zero times NaN is NaN.
      tokens = jnp.where(padded[..., None], 0, tokens)
      outputs = self._route(tokens, padded).astype(inputs.dtype)
      outputs = jnp.where(padded[..., None], 0, outputs)
    return self._shard(outputs, 'bnd')

  def _route(self, tokens: JTensor, padded: JTensor | None) -> JTensor:
    """Returns [B, N, D] of tokens [B, N, D]; `padded` is [B, N] bool or None.

    Padded tokens are zeros, and what is returned for them does not count.
    """
    raise NotImplementedError(
        f'{type(self).__name__} does not route; use SoftMoE, TokensChoiceMoE,'
        ' ExpertsChoiceMoE or FixedRoutingMoE'
    )

  def _score_dtype(self, router_dtype: Any) -> Any:
    """Returns what to compute scores in where `router_dtype` is asked for."""
    is_double = jnp.dtype(self.fprop_dtype) == jnp.float64
    return jnp.float64 if is_double else router_dtype

  def _as_stored(self, name: str) -> JTensor:
    """Returns a weight that has not gone through `fprop_dtype`, as `theta` does.

    The router reads its weights in full precision whatever the rest does.
    """
    return self.get_variable(base_layer.PARAMS, name)

  def _shard(self, x: JTensor, letters: str) -> JTensor:
    split = getattr(self.activation_split_dims_mapping, letters)
    return base_layer.maybe_shard(x, split, self.mesh_axis_names)

  def _apply_experts(self, slots: JTensor) -> JTensor:
    """Brings slots [E, B, P, D] to their experts, and what these make back."""
    e, b, p, d = slots.shape
    parts = self.exchange_parts
    if parts == 1 or b % parts:
      return self._exchange(slots)
    # Of the images that a device has, some are in each part.
    slots = slots.reshape(e, b // parts, parts, p, d)
    outputs = [self._exchange(slots[:, :, i]) for i in range(parts)]
    return jnp.stack(outputs, axis=2).reshape(e, b, p, -1)

  def _exchange(self, slots: JTensor) -> JTensor:
    """Returns what experts make of slots [E, B, P, D], where the slots were."""
    slots = self._shard(self._shard_like_tokens(slots), 'ebpd')
    slots = ad_checkpoint.checkpoint_name(slots, 'expert_inputs')
    outputs = self.experts(slots)
    outputs = self._shard_like_tokens(self._shard(outputs, 'ebpd'))
    # A scan keeps what is named in arrays that start as zeros. With the shape
    # of the inputs, both would start as the same zeros, split in one way, and
    # XLA would exchange those for the other.
    outputs = ad_checkpoint.checkpoint_name(outputs[None], 'expert_outputs')
    return outputs[0]

  def _shard_like_tokens(self, slots: JTensor) -> JTensor:
    """Keeps slots [E, B, P, D] on the devices of their tokens.

    Between this constraint and that of `ebpd` there is nothing to compute, so
    the partitioner can only put the exchange of slots there: one all-to-all.
    """
    tokens = self.activation_split_dims_mapping.bnd
    split = None if tokens is None else (None, tokens[0], None, None)
    return base_layer.maybe_shard(slots, split, self.mesh_axis_names)
