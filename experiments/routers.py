"""The routers that experiments choose from, each with its settings."""

from collections.abc import Sequence

from pax_softmoe.layers import experts_choice
from pax_softmoe.layers import fixed_routing
from pax_softmoe.layers import soft_moe
from pax_softmoe.layers import tokens_choice
from praxis import base_layer
from praxis import pax_fiddle

LayerTpl = pax_fiddle.Config[base_layer.BaseLayer]


class Dense:
  """A plain MLP in every block."""


class _Router:
  """What all routers have.

  NUM_EXPERTS is of each MoE layer. All experts of a layer start with the same
  weights with IDENTICAL_EXPERT_INIT, as officially.
  """

  NUM_EXPERTS: int = 128
  IDENTICAL_EXPERT_INIT: bool = True


class SoftMoE(_Router):
  """Soft MoE with the official defaults.

  DISPATCH and COMBINE may be 'uniform', the ablations of table 2.
  """

  SLOTS_PER_EXPERT: int = 1
  NORMALIZE: bool = True
  NOISE_STDDEV: float = 0.0
  DISPATCH: str = 'soft'
  COMBINE: str = 'soft'
  ROUTER_SCALE_DECAY: float = 0.03

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
  """What Tokens Choice and Experts Choice have in common.

  GROUP_SIZE is in images; the gate decays like other kernels.
  """

  NUM_EXPERTS = 32
  CAPACITY_FACTOR: float = 1.0
  GROUP_SIZE: int = 8
  NOISE_STDDEV: float = 1.0

  def weight_decays(self) -> Sequence[tuple[str, float]]:
    return (*super().weight_decays(), (r'.*/moe/gate', self.KERNEL_DECAY))


class TokensChoice(_Sparse):
  """Every token picks its best experts; batch-prioritized, as in the paper."""

  NUM_SELECTED_EXPERTS: int = 1
  BATCH_PRIORITIZED: bool = True
  IMPORTANCE_LOSS_WEIGHT: float = 0.005
  LOAD_LOSS_WEIGHT: float = 0.005
  GSHARD_LOSS_WEIGHT: float = 0.0

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
  """No learned router: ROUTING is 'identity' or 'uniform' (table 2)."""

  SLOTS_PER_EXPERT: int = 1
  ROUTING: str = 'identity'
  IDENTICAL_EXPERT_INIT = False

  def moe_tpl(self) -> LayerTpl:
    return pax_fiddle.Config(
        fixed_routing.FixedRoutingMoE,
        num_experts=self.NUM_EXPERTS,
        slots_per_expert=self.SLOTS_PER_EXPERT,
        routing=self.ROUTING,
        identical_expert_init=self.IDENTICAL_EXPERT_INIT,
    )
