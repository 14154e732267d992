"""What recipes make of rates, decay and augmentation."""

from pax_softmoe import experiments
from pax_softmoe.experiments import recipes
from pax_softmoe.experiments import routers
from paxml import experiment_registry
import pytest


def test_an_experiment_before_its_recipe_of_finetuning_is_refused():
  class Start(routers.SoftMoE, recipes.Jft):
    NUM_TRAIN_STEPS = 2_000_000

  with pytest.raises(ValueError, match='Start comes before its recipe of fine'):
    type('Wrong', (Start, recipes.ImageNetFinetune), {})
  right = type('Right', (recipes.ImageNetFinetune, Start), {})
  assert right.NUM_TRAIN_STEPS == 10_000
  # What a leaf itself says stays.
  own = type('Own', (right,), {'NUM_TRAIN_STEPS': 7})
  assert own.NUM_TRAIN_STEPS == 7


def registered():
  prefix = 'pax_softmoe.experiments.'
  keys = experiment_registry.get_all()
  return [k.removeprefix(prefix) for k in keys if k.startswith(prefix)]


def test_fine_tuning_goes_from_warm_up_to_its_final_rate():
  optimizer = experiments.SoftMoES16ImageNet().optimizer()
  schedule = optimizer.lr_schedule.Instantiate()
  # V-MoE's config: up to 0.003 in 500 steps, then a cosine to 1e-5 at 10,000.
  for step, want in ((0, 0), (250, 1.5e-3), (500, 3e-3), (10_000, 1e-5)):
    got = optimizer.learning_rate * schedule.value_at(step)
    assert got == pytest.approx(want, rel=1e-5), step
  assert float(schedule.value_at(5_250)) == pytest.approx(
      (1 + 1e-5 / 3e-3) / 2, rel=1e-5
  )


# Peaks of V-MoE's `pretrain_imagenet21k.py` by size.
PEAKS = {'S32': 1e-3, 'B16': 8e-4, 'L16': 4e-4}


def imagenet21k():
  return [name for name in registered() if name.endswith('ImageNet21k')]


@pytest.mark.parametrize('name', imagenet21k())
def test_imagenet21k_goes_linearly_from_its_peak_to_1e_5(name):
  optimizer = getattr(experiments, name)().optimizer()
  schedule = optimizer.lr_schedule.Instantiate()
  peak = next(p for size, p in PEAKS.items() if size in name)
  # 300 epochs of 14,094,722 images in batches of 4,096.
  end = 1_032_328
  for step, want in (
      (0, 0),
      (5_000, peak / 2),
      (10_000, peak),
      ((10_000 + end) / 2, (peak + 1e-5) / 2),
      (end, 1e-5),
  ):
    got = optimizer.learning_rate * schedule.value_at(step)
    assert got == pytest.approx(want, rel=1e-4), step


@pytest.mark.parametrize(
    'name', [n for n in registered() if n.endswith(('ImageNet21k', 'Laion'))]
)
def test_public_recipes_decay_kernels_by_a_tenth_and_nothing_else(name):
  decay_of = getattr(experiments, name)().optimizer().Instantiate().decay_of
  for kernel in ('head/kernel', 'vit/blocks_0/sub/attention/wq'):
    assert decay_of(kernel) == 0.1
  for other in ('head/bias', 'vit/positions', 'vit/x/moe/phi', 'x/moe/scale'):
    assert decay_of(other) == 0
  if 'Choice' in name:
    assert decay_of('vit/blocks_1/sub/moe/gate') == 0.1


def test_public_recipes_augment_training_only():
  experiment = experiments.SoftMoEB16ImageNet21k()
  train, validation = experiment.datasets()
  assert (train.mixup, validation.mixup) == (0.5, 0)
  assert 'RandAugment(num_ops=2, magnitude=20)' in str(train.ops)
  assert 'RandAugment' not in str(validation.ops)
  # Crops help Soft MoE on LAION and hurt the others (paper, figure 15).
  for name, crops in (('SoftMoE', 1), ('ExpertsChoice', 0), ('ViT', 0)):
    train, _ = getattr(experiments, f'{name}B16Laion')().datasets()
    assert str(train.ops).count('InceptionCrop') == crops
    assert train.image_size == 256
