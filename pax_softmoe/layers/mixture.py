"""What every mixture of experts has, whatever its routing."""

from jax import ad_checkpoint
from pax_softmoe.layers import activations
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

  Attributes:
    input_dims: D.
    hidden_dims: H of each expert.
    num_experts: E.
    activation_tpl: activation of the experts.
    dropout_prob: dropout of the experts' hidden dims.
    identical_expert_init: whether all experts start with the same weights.
  """

  input_dims: int = 0
  hidden_dims: int = 0
  num_experts: int = 0
  activation_tpl: LayerTpl = template_field(activations.GELU)
  dropout_prob: float = 0.0
  identical_expert_init: bool = True

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
    self._require_positive('input_dims', 'hidden_dims', 'num_experts')
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

  def _require_positive(self, *names: str) -> None:
    for name in names:
      if getattr(self, name) < 1:
        raise ValueError(
            f'{type(self).__name__}: {name} is {getattr(self, name)}; set it to'
            ' 1 or more'
        )

  def _shard(self, x: JTensor, letters: str) -> JTensor:
    split = getattr(self.activation_split_dims_mapping, letters)
    return base_layer.maybe_shard(x, split, self.mesh_axis_names)

  def _apply_experts(self, slots: JTensor) -> JTensor:
    """Brings slots [E, B, P, D] to their experts, and what these make back."""
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
