"""Praxis layers: experts, routers, and the vision transformer around them."""

from pax_softmoe.layers.experts import ExpertMlps
from pax_softmoe.layers.experts_choice import ExpertsChoiceMoE
from pax_softmoe.layers.feed_forward import MoEFeedForward
from pax_softmoe.layers.fixed_routing import FixedRoutingMoE
from pax_softmoe.layers.soft_moe import SoftMoE
from pax_softmoe.layers.tokens_choice import TokensChoiceMoE
from pax_softmoe.layers.vit import VisionTransformer
