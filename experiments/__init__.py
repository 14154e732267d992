"""The registered experiments.

    python -m paxml.main --exp=pax_softmoe.experiments.NAME --job_log_dir=DIR

Pax finds an experiment by the module and name of its class, so all of them are
defined here, each from a size, a router and a recipe, and with the results that
are published of it. `register` adds to their docstrings these results, and the
command that trains each.
"""

from pax_softmoe.experiments import recipes
from pax_softmoe.experiments import registering
from pax_softmoe.experiments import results
from pax_softmoe.experiments import routers
from pax_softmoe.experiments import sizes

register = registering.register


# Fashion-MNIST, on a CPU in minutes.


@register
class SoftMoEFashionMnist(routers.SoftMoE, recipes.FashionMnist):
  """A small Soft MoE on real photographs, on a CPU in a few minutes.

  `make train` takes less than 5 minutes of two CPU cores and reaches 85.7 to
  86.3 % (three seeds).
  """

  NUM_EXPERTS = 16
  SLOTS_PER_EXPERT = 1


@register
class ViTFashionMnist(routers.Dense, recipes.FashionMnist):
  """The dense model beside `SoftMoEFashionMnist`."""


@register
class TokensChoiceFashionMnist(routers.TokensChoice, recipes.FashionMnist):
  """Tokens Choice beside `SoftMoEFashionMnist`, as many slots as tokens."""

  NUM_EXPERTS = 16


@register
class ExpertsChoiceFashionMnist(routers.ExpertsChoice, recipes.FashionMnist):
  """Experts Choice beside `SoftMoEFashionMnist`, as many slots as tokens."""

  NUM_EXPERTS = 16


@register
class IdentityFashionMnist(routers.FixedRouting, recipes.FashionMnist):
  """The ablation "Identity": token i goes to expert i."""

  NUM_EXPERTS = 16


@register
class UniformFashionMnist(routers.FixedRouting, recipes.FashionMnist):
  """The ablation "Uniform": all slots hold the mean token."""

  NUM_EXPERTS = 16
  ROUTING = 'uniform'


@register
class SoftUniformFashionMnist(SoftMoEFashionMnist):
  """The ablation "Soft / Uniform": learned dispatch, uniform combine."""

  COMBINE = 'uniform'


@register
class UniformSoftFashionMnist(SoftMoEFashionMnist):
  """The ablation "Uniform / Soft": uniform dispatch, learned combine."""

  DISPATCH = 'uniform'
  IDENTICAL_EXPERT_INIT = False


# Soft MoE of every size of the paper.


@register
class SoftMoES32(sizes.S, routers.SoftMoE, recipes.JftShort):
  """Soft MoE S/32 with 32 experts."""

  published = results.Paper(48.2, 62.3, table=9, days=7.0)
  PATCH_SIZE = 32
  NUM_EXPERTS = 32


@register
class SoftMoES16(sizes.S, routers.SoftMoE, recipes.Jft):
  """Soft MoE S/16 with 128 experts."""

  published = results.Paper(58.1, 78.8, 86.8, table=8, days=175)
  PATCH_SIZE = 16
  NUM_EXPERTS = 128


@register
class SoftMoES14(sizes.S, routers.SoftMoE, recipes.Jft):
  """Soft MoE S/14 with 256 experts."""

  published = results.Paper(58.9, 80.0, 87.2, table=8, days=198)
  PATCH_SIZE = 14
  NUM_EXPERTS = 256


@register
class SoftMoES8(sizes.S, routers.SoftMoE, recipes.JftShort):
  """Soft MoE S/8 with 512 experts."""

  published = results.Paper(56.1, 78.0, table=9, days=88.5)
  PATCH_SIZE = 8
  NUM_EXPERTS = 512


@register
class SoftMoEB32(sizes.B, routers.SoftMoE, recipes.JftShort):
  """Soft MoE B/32 with 32 experts."""

  published = results.Paper(50.9, 69.7, table=9, days=11.7)
  PATCH_SIZE = 32
  NUM_EXPERTS = 32


@register
class SoftMoEB16(sizes.B, routers.SoftMoE, recipes.Jft):
  """Soft MoE B/16 with 128 experts."""

  published = results.Paper(60.0, 82.0, 88.0, table=8, days=450)
  PATCH_SIZE = 16
  NUM_EXPERTS = 128


@register
class SoftMoEL32(sizes.L, routers.SoftMoE, recipes.JftShort):
  """Soft MoE L/32 with 32 experts."""

  published = results.Paper(53.5, 75.0, table=9, days=56.0)
  PATCH_SIZE = 32
  NUM_EXPERTS = 32


@register
class SoftMoEL16(sizes.L, routers.SoftMoE, recipes.Jft):
  """Soft MoE L/16 with 128 experts."""

  published = results.Paper(61.3, 83.7, 88.9, table=8, days=1_355)
  PATCH_SIZE = 16
  NUM_EXPERTS = 128


@register
class SoftMoEH14(sizes.H, routers.SoftMoE, recipes.Jft):
  """Soft MoE H/14 with 128 experts."""

  published = results.Paper(61.7, 84.2, 89.1, table=8, days=2_225)
  PATCH_SIZE = 14
  NUM_EXPERTS = 128
  NUM_TRAIN_STEPS = 2_000_000


@register
class SoftMoEH14E256(SoftMoEH14):
  """Soft MoE H/14 with 256 experts."""

  published = results.Paper(62.1, 84.3, 89.1, table=8, days=2_554)
  NUM_EXPERTS = 256


# Dense ViT of every size of the paper.


@register
class ViTS32(sizes.S, routers.Dense, recipes.JftShort):
  """Dense ViT S/32."""

  published = results.Paper(42.8, 51.0, table=9, days=6.3)
  PATCH_SIZE = 32


@register
class ViTS16(sizes.S, routers.Dense, recipes.Jft):
  """Dense ViT S/16."""

  published = results.Paper(51.3, 67.6, 84.0, table=8, days=153.5)
  PATCH_SIZE = 16


@register
class ViTS14(sizes.S, routers.Dense, recipes.JftShort):
  """Dense ViT S/14."""

  published = results.Paper(48.3, 62.3, table=2)
  PATCH_SIZE = 14


@register
class ViTS8(sizes.S, routers.Dense, recipes.JftShort):
  """Dense ViT S/8."""

  published = results.Paper(49.9, 66.7, table=9, days=77.7)
  PATCH_SIZE = 8


@register
class ViTB32(sizes.B, routers.Dense, recipes.JftShort):
  """Dense ViT B/32."""

  published = results.Paper(48.0, 63.4, table=9, days=11.7)
  PATCH_SIZE = 32


@register
class ViTB16(sizes.B, routers.Dense, recipes.Jft):
  """Dense ViT B/16."""

  published = results.Paper(56.2, 76.8, 86.6, table=8, days=410)
  PATCH_SIZE = 16


@register
class ViTL32(sizes.L, routers.Dense, recipes.JftShort):
  """Dense ViT L/32."""

  published = results.Paper(51.3, 70.9, table=9, days=54.9)
  PATCH_SIZE = 32


@register
class ViTL16(sizes.L, routers.Dense, recipes.Jft):
  """Dense ViT L/16."""

  published = results.Paper(59.8, 81.5, 88.5, table=8, days=1_290)
  PATCH_SIZE = 16


@register
class ViTH14(sizes.H, routers.Dense, recipes.Jft):
  """Dense ViT H/14."""

  published = results.Paper(59.7, 83.3, 88.9, table=8, days=2_040)
  PATCH_SIZE = 14
  NUM_TRAIN_STEPS = 2_000_000


# Tokens Choice of every size of the paper.


@register
class TokensChoiceS32(sizes.S, routers.TokensChoice, recipes.JftShort):
  """Tokens Choice S/32 with 32 experts."""

  published = results.Paper(46.3, 58.7, table=9, days=8.0)
  PATCH_SIZE = 32


@register
class TokensChoiceS16(sizes.S, routers.TokensChoice, recipes.JftShort):
  """Tokens Choice S/16 with 32 experts."""

  published = results.Paper(51.2, 68.9, table=9, days=23.2)
  PATCH_SIZE = 16


@register
class TokensChoiceS14(sizes.S, routers.TokensChoice, recipes.JftShort):
  """Tokens Choice S/14 with 32 experts; the paper has no table of it."""

  PATCH_SIZE = 14


@register
class TokensChoiceS8(sizes.S, routers.TokensChoice, recipes.JftShort):
  """Tokens Choice S/8 with 32 experts."""

  published = results.Paper(53.8, 73.7, table=9, days=129.8)
  PATCH_SIZE = 8


@register
class TokensChoiceB32(sizes.B, routers.TokensChoice, recipes.JftShort):
  """Tokens Choice B/32 with 32 experts."""

  published = results.Paper(49.7, 66.2, table=9, days=20.0)
  PATCH_SIZE = 32


@register
class TokensChoiceB16(sizes.B, routers.TokensChoice, recipes.JftShort):
  """Tokens Choice B/16 with 32 experts."""

  published = results.Paper(53.7, 74.4, table=9, days=57.8)
  PATCH_SIZE = 16


@register
class TokensChoiceL32(sizes.L, routers.TokensChoice, recipes.JftShort):
  """Tokens Choice L/32 with 32 experts."""

  published = results.Paper(52.3, 71.7, table=9, days=61.6)
  PATCH_SIZE = 32


@register
class TokensChoiceL16(sizes.L, routers.TokensChoice, recipes.JftShort):
  """Tokens Choice L/16 with 32 experts."""

  published = results.Paper(55.9, 78.5, table=9, days=125.1)
  PATCH_SIZE = 16


@register
class TokensChoiceH14(sizes.H, routers.TokensChoice, recipes.JftShort):
  """Tokens Choice H/14 with 64 experts."""

  published = results.Paper(56.7, 79.8, table=9, days=230.7)
  PATCH_SIZE = 14
  NUM_EXPERTS = 64
  CAPACITY_FACTOR = 1.25


# Experts Choice of every size of the paper.


@register
class ExpertsChoiceS32(sizes.S, routers.ExpertsChoice, recipes.JftShort):
  """Experts Choice S/32 with 32 experts."""

  published = results.Paper(46.6, 58.2, table=9, days=7.6)
  PATCH_SIZE = 32


@register
class ExpertsChoiceS16(sizes.S, routers.ExpertsChoice, recipes.JftShort):
  """Experts Choice S/16 with 32 experts."""

  published = results.Paper(51.3, 68.7, table=9, days=21.5)
  PATCH_SIZE = 16


@register
class ExpertsChoiceS14(sizes.S, routers.ExpertsChoice, recipes.JftShort):
  """Experts Choice S/14 with 32 experts; the paper has no table of it."""

  PATCH_SIZE = 14


@register
class ExpertsChoiceS8(sizes.S, routers.ExpertsChoice, recipes.JftShort):
  """Experts Choice S/8 with 32 experts."""

  published = results.Paper(53.6, 73.4, table=9, days=126.6)
  PATCH_SIZE = 8


@register
class ExpertsChoiceB32(sizes.B, routers.ExpertsChoice, recipes.JftShort):
  """Experts Choice B/32 with 32 experts."""

  published = results.Paper(49.9, 66.0, table=9, days=19.7)
  PATCH_SIZE = 32


@register
class ExpertsChoiceB16(sizes.B, routers.ExpertsChoice, recipes.JftShort):
  """Experts Choice B/16 with 32 experts."""

  published = results.Paper(54.2, 74.5, table=9, days=56.2)
  PATCH_SIZE = 16


@register
class ExpertsChoiceL32(sizes.L, routers.ExpertsChoice, recipes.JftShort):
  """Experts Choice L/32 with 32 experts."""

  published = results.Paper(52.7, 71.7, table=9, days=60.6)
  PATCH_SIZE = 32


@register
class ExpertsChoiceL16(sizes.L, routers.ExpertsChoice, recipes.JftShort):
  """Experts Choice L/16 with 32 experts."""

  published = results.Paper(55.1, 77.5, table=9, days=113.6)
  PATCH_SIZE = 16
  GROUP_SIZE = 1


@register
class ExpertsChoiceH14(sizes.H, routers.ExpertsChoice, recipes.JftShort):
  """Experts Choice H/14 with 64 experts."""

  published = results.Paper(57.3, 80.4, table=9, days=210.9)
  PATCH_SIZE = 14
  NUM_EXPERTS = 64
  CAPACITY_FACTOR = 1.25


# ImageNet-21k, V-MoE's public recipe. No results of Soft MoE on it are published.


@register
class SoftMoES32ImageNet21k(sizes.S, routers.SoftMoE, recipes.ImageNet21k):
  """Soft MoE S/32 with 32 experts on ImageNet-21k."""

  PATCH_SIZE = 32
  NUM_EXPERTS = 32
  LEARNING_RATE = 1e-3
  ROUTER_SCALE_DECAY = 0.0


@register
class SoftMoEB16ImageNet21k(sizes.B, routers.SoftMoE, recipes.ImageNet21k):
  """Soft MoE B/16 with 128 experts on ImageNet-21k."""

  PATCH_SIZE = 16
  NUM_EXPERTS = 128
  LEARNING_RATE = 8e-4
  ROUTER_SCALE_DECAY = 0.0


@register
class SoftMoEL16ImageNet21k(sizes.L, routers.SoftMoE, recipes.ImageNet21k):
  """Soft MoE L/16 with 128 experts on ImageNet-21k."""

  PATCH_SIZE = 16
  NUM_EXPERTS = 128
  LEARNING_RATE = 4e-4
  ROUTER_SCALE_DECAY = 0.0


@register
class ViTB16ImageNet21k(sizes.B, routers.Dense, recipes.ImageNet21k):
  """Dense ViT B/16 on ImageNet-21k with V-MoE's recipe."""

  PATCH_SIZE = 16
  LEARNING_RATE = 8e-4


@register
class TokensChoiceB16ImageNet21k(
    sizes.B, routers.TokensChoice, recipes.ImageNet21k
):
  """V-MoE B/16 of the public recipe: 8 experts, top 2, every second block."""

  PATCH_SIZE = 16
  NUM_EXPERTS = 8
  NUM_SELECTED_EXPERTS = 2
  CAPACITY_FACTOR = 1.05
  BATCH_PRIORITIZED = False
  MOE_LAYERS = (1, 3, 5, 7, 9, 11)
  LEARNING_RATE = 8e-4


@register
class ExpertsChoiceB16ImageNet21k(
    sizes.B, routers.ExpertsChoice, recipes.ImageNet21k
):
  """Experts Choice B/16 with the experts of `SoftMoEB16ImageNet21k`."""

  PATCH_SIZE = 16
  NUM_EXPERTS = 128
  GROUP_SIZE = 1
  LEARNING_RATE = 8e-4


# The image towers of the LAION-400M runs at 256 pixels, as classifiers.


@register
class SoftMoEB16Laion(sizes.B, routers.SoftMoE, recipes.Laion):
  """The image tower of Soft MoE B/16 with 128 experts; see `recipes.Laion`."""

  PATCH_SIZE = 16
  NUM_EXPERTS = 128
  ROUTER_SCALE_DECAY = 0.0


@register
class ExpertsChoiceB16Laion(sizes.B, routers.ExpertsChoice, recipes.Laion):
  """The image tower of Experts Choice B/16; see `recipes.Laion`."""

  PATCH_SIZE = 16
  NUM_EXPERTS = 128
  GROUP_SIZE = 1
  INCEPTION_CROP = False


@register
class ViTB16Laion(sizes.B, routers.Dense, recipes.Laion):
  """The dense image tower B/16; see `recipes.Laion`."""

  PATCH_SIZE = 16
  INCEPTION_CROP = False


# Fine-tuning; INIT_FROM is the folder of a job of the experiment named.


@register
class SoftMoEFashionMnistFinetune(
    recipes.FashionMnistFinetune, SoftMoEFashionMnist
):
  """Fine-tunes `SoftMoEFashionMnist` on the same images at 56 pixels."""


@register
class SoftMoES16ImageNet(recipes.ImageNetFinetune, SoftMoES16):
  """Fine-tunes `SoftMoES16` on ImageNet at 384 pixels."""

  published = results.Paper(finetuned=86.8, table=8)


@register
class SoftMoEB16ImageNet(recipes.ImageNetFinetune, SoftMoEB16):
  """Fine-tunes `SoftMoEB16` on ImageNet at 384 pixels."""


@register
class SoftMoEL16ImageNet(recipes.ImageNetFinetune, SoftMoEL16):
  """Fine-tunes `SoftMoEL16` on ImageNet at 384 pixels."""


@register
class SoftMoEH14ImageNet(recipes.ImageNetFinetune, SoftMoEH14):
  """Fine-tunes `SoftMoEH14` on ImageNet at 378 pixels, 27 x 27 patches."""

  IMAGE_SIZE = 378


@register
class ViTS16ImageNet(recipes.ImageNetFinetune, ViTS16):
  """Fine-tunes `ViTS16` on ImageNet at 384 pixels."""

  published = results.Paper(finetuned=84.0, table=8)
