"""The routers that experiments choose from, each with its settings."""

from typing import Sequence

from pax_softmoe.layers import soft_moe
from praxis import base_layer
from praxis import pax_fiddle

LayerTpl = pax_fiddle.Config[base_layer.BaseLayer]


class Dense:
  """A plain MLP in every block."""


class SoftMoE:
  """Soft MoE with the official defaults."""

  NUM_EXPERTS: int = 128
  SLOTS_PER_EXPERT: int = 1
  NORMALIZE: bool = True
  NOISE_STDDEV: float = 0.0
  IDENTICAL_EXPERT_INIT: bool = True
  ROUTER_SCALE_DECAY: float = 0.03

  def moe_tpl(self) -> LayerTpl:
    return pax_fiddle.Config(
        soft_moe.SoftMoE,
        num_experts=self.NUM_EXPERTS,
        slots_per_expert=self.SLOTS_PER_EXPERT,
        normalize=self.NORMALIZE,
        noise_stddev=self.NOISE_STDDEV,
        identical_expert_init=self.IDENTICAL_EXPERT_INIT,
    )

  def weight_decays(self) -> Sequence[tuple[str, float]]:
    router = (r'.*/moe/scale', self.ROUTER_SCALE_DECAY)
    return (*super().weight_decays(), router)
