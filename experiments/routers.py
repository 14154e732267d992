"""The routers that experiments choose from, each with its settings."""

from collections.abc import Sequence
from typing import Annotated
from typing import Literal

from pax_softmoe.experiments import settings
from pax_softmoe.layers import experts_choice
from pax_softmoe.layers import fixed_routing
from pax_softmoe.layers import soft_moe
from pax_softmoe.layers import tokens_choice
from praxis import base_layer
from praxis import pax_fiddle

LayerTpl = pax_fiddle.Config[base_layer.BaseLayer]

Kept = settings.Kept
_Mixture = Annotated[Literal['soft', 'uniform'], Kept]


class Dense:
  """A plain MLP in every block."""


class _Router:
  """Experts."""

  NUM_EXPERTS: Annotated[settings.Size, Kept, 'Experts of each MoE layer.'] = (
      128
  )
  IDENTICAL_EXPERT_INIT: Annotated[
      bool,
      'Whether all experts of a layer start with the same weights, as'
      ' officially.',
  ] = True


class SoftMoE(_Router):
  """Soft MoE.

  With the official defaults.
  """

  SLOTS_PER_EXPERT: Annotated[settings.Size, Kept, 'Slots of an expert.'] = 1
  NORMALIZE: Annotated[
      bool, Kept, 'Whether the router normalizes tokens and slots.'
  ] = True
  NOISE_STDDEV: Annotated[
      settings.NonNegative, "Of noise on the router's scores in training."
  ] = 0.0
  DISPATCH: Annotated[
      _Mixture, "How tokens are mixed; 'uniform' is an ablation of table 2."
  ] = 'soft'
  COMBINE: Annotated[
      _Mixture, "How outputs are mixed; 'uniform' is an ablation of table 2."
  ] = 'soft'
  ROUTER_SCALE_DECAY: Annotated[
      settings.NonNegative, "Weight decay of the router's scale."
  ] = 0.03

  def moe_tpl(self) -> LayerTpl:
    return pax_fiddle.Config(
        soft_moe.SoftMoE,
        num_experts=self.NUM_EXPERTS,
        slots_per_expert=self.SLOTS_PER_EXPERT,
        normalize=self.NORMALIZE,
        noise_stddev=self.NOISE_STDDEV,
        dispatch=self.DISPATCH,
        combine=self.COMBINE,
        identical_expert_init=self.IDENTICAL_EXPERT_INIT,
    )

  def weight_decays(self) -> Sequence[tuple[str, float]]:
    router = (r'.*/moe/scale', self.ROUTER_SCALE_DECAY)
    return (*super().weight_decays(), router)


class _Sparse(_Router):
  """Tokens Choice and Experts Choice.

  The gate decays like other kernels.
  """

  NUM_EXPERTS = 32
  CAPACITY_FACTOR: Annotated[
      settings.Positive, Kept, 'Slots of all experts per choice of a token.'
  ] = 1.0
  GROUP_SIZE: Annotated[
      settings.Count, Kept, 'Images that are routed together.'
  ] = 8
  NOISE_STDDEV: Annotated[
      settings.NonNegative,
      "Of noise on the router's scores in training, times 1 / NUM_EXPERTS.",
  ] = 1.0

  def group_size(self) -> int:
    return self.GROUP_SIZE

  def weight_decays(self) -> Sequence[tuple[str, float]]:
    return (*super().weight_decays(), (r'.*/moe/gate', self.KERNEL_DECAY))


class TokensChoice(_Sparse):
  """Tokens Choice.

  Every token picks its best experts.
  """

  NUM_SELECTED_EXPERTS: Annotated[
      settings.Size, Kept, 'Experts that each token picks.'
  ] = 1
  BATCH_PRIORITIZED: Annotated[
      bool,
      Kept,
      'Whether the surest tokens of a group pick first, as in the paper.',
  ] = True
  IMPORTANCE_LOSS_WEIGHT: Annotated[
      settings.NonNegative, 'Of the loss that evens out gates of experts.'
  ] = 0.005
  LOAD_LOSS_WEIGHT: Annotated[
      settings.NonNegative, 'Of the loss that evens out tokens of experts.'
  ] = 0.005
  GSHARD_LOSS_WEIGHT: Annotated[
      settings.NonNegative, "Of GShard's loss, which evens out both."
  ] = 0.0

  def moe_tpl(self) -> LayerTpl:
    return pax_fiddle.Config(
        tokens_choice.TokensChoiceMoE,
        num_experts=self.NUM_EXPERTS,
        num_selected_experts=self.NUM_SELECTED_EXPERTS,
        capacity_factor=self.CAPACITY_FACTOR,
        batch_prioritized=self.BATCH_PRIORITIZED,
        group_size=self.GROUP_SIZE,
        noise_stddev=self.NOISE_STDDEV,
        importance_loss_weight=self.IMPORTANCE_LOSS_WEIGHT,
        load_loss_weight=self.LOAD_LOSS_WEIGHT,
        gshard_loss_weight=self.GSHARD_LOSS_WEIGHT,
        identical_expert_init=self.IDENTICAL_EXPERT_INIT,
    )


class ExpertsChoice(_Sparse):
  """Every expert picks its best tokens."""

  def moe_tpl(self) -> LayerTpl:
    return pax_fiddle.Config(
        experts_choice.ExpertsChoiceMoE,
        num_experts=self.NUM_EXPERTS,
        capacity_factor=self.CAPACITY_FACTOR,
        group_size=self.GROUP_SIZE,
        noise_stddev=self.NOISE_STDDEV,
        identical_expert_init=self.IDENTICAL_EXPERT_INIT,
    )


class FixedRouting(_Router):
  """Fixed routing.

  No learned router: the ablations of table 2.
  """

  SLOTS_PER_EXPERT: Annotated[settings.Size, Kept, 'Slots of an expert.'] = 1
  ROUTING: Annotated[
      Literal['identity', 'uniform'],
      Kept,
      'Whether slot i holds token i, or every slot the mean token.',
  ] = 'identity'
  IDENTICAL_EXPERT_INIT = False

  def moe_tpl(self) -> LayerTpl:
    return pax_fiddle.Config(
        fixed_routing.FixedRoutingMoE,
        num_experts=self.NUM_EXPERTS,
        slots_per_expert=self.SLOTS_PER_EXPERT,
        routing=self.ROUTING,
        identical_expert_init=self.IDENTICAL_EXPERT_INIT,
    )
