"""The registered experiments.

    python -m paxml.main --exp=pax_softmoe.experiments.NAME --job_log_dir=DIR

Pax finds an experiment by the module and name of its class, so all of them are
defined here, each from a size, a router and a recipe.
"""

from pax_softmoe.experiments import recipes
from pax_softmoe.experiments import routers
from pax_softmoe.experiments import sizes
from paxml import experiment_registry

register = experiment_registry.register


@register
class SoftMoEFashionMnist(routers.SoftMoE, recipes.FashionMnist):
  """A small Soft MoE on real photographs, on a CPU in a few minutes."""

  NUM_EXPERTS = 16
  SLOTS_PER_EXPERT = 1


@register
class SoftMoEH14(sizes.H, routers.SoftMoE, recipes.Jft):
  """Soft MoE H/14 with 128 experts, 27.3 B parameters, pretrained on JFT-4B.

  Published: 61.7 % JFT precision at 1, 84.2 % ImageNet 10-shot, 89.1 % after
  fine-tuning (table 8: 2 M steps, 2,225 TPUv3-days).
  """

  PATCH_SIZE = 14
  NUM_EXPERTS = 128
  NUM_TRAIN_STEPS = 2_000_000
