"""Registered experiments: sizes of the paper, settings, and their errors."""

import jax
from jax import numpy as jnp
from pax_softmoe import experiments
from pax_softmoe.experiments import recipes
from pax_softmoe.experiments import routers
from pax_softmoe.experiments import sizes
from pax_softmoe.model_size import counts
from paxml import experiment_registry
import pytest

# Parameters with 29,593 classes: the official code, which the paper rounds.
PARAMETERS = {
    (sizes.S, 32, None): 33_888_025,
    (sizes.S, 16, None): 33_059_737,
    (sizes.S, 14, None): 33_013_657,
    (sizes.S, 8, None): 33_064_345,
    (sizes.B, 32, None): 110_212_249,
    (sizes.B, 16, None): 108_555_673,
    (sizes.L, 32, None): 335_844_249,
    (sizes.L, 16, None): 333_635_481,
    (sizes.H, 14, None): 668_675_993,
    (sizes.S, 32, 32): 253_733_407,
    (sizes.S, 16, 32): 252_905_119,
    (sizes.S, 16, 128): 933_709_471,
    (sizes.S, 14, 256): 1_841_402_527,
    (sizes.B, 16, 128): 3_707_638_687,
    (sizes.L, 16, 128): 13_127_249_829,
    (sizes.H, 14, 128): 27_318_132_649,
    (sizes.H, 14, 256): 54_177_406_889,
}

# GFLOP per image of table 8.
GFLOP = {
    (sizes.S, 16, None): 9.2,
    (sizes.S, 16, 128): 8.6,
    (sizes.S, 14, 256): 13.2,
    (sizes.B, 16, None): 35.1,
    (sizes.B, 16, 128): 32.0,
    (sizes.L, 16, None): 122.9,
    (sizes.L, 16, 128): 111.1,
    (sizes.H, 14, None): 334.2,
    (sizes.H, 14, 128): 284.6,
    (sizes.H, 14, 256): 342.4,
}


def jft(size, patch_size, num_experts):
  settings = {'PATCH_SIZE': patch_size}
  if num_experts:
    settings['NUM_EXPERTS'] = num_experts
  router = routers.SoftMoE if num_experts else routers.Dense
  return type('Jft', (size, router, recipes.Jft), settings)()


@pytest.mark.parametrize('case', PARAMETERS, ids=str)
def test_parameters_equal_the_official_code(case):
  weights = counts.abstract_weights(jft(*case))
  assert counts.count(weights) == PARAMETERS[case]


@pytest.mark.parametrize('case', GFLOP, ids=str)
def test_flops_agree_with_table_8(case):
  got = counts.forward_flops(jft(*case)) / 1e9
  assert got == pytest.approx(GFLOP[case], rel=0.01)


def registered():
  prefix = 'pax_softmoe.experiments.'
  keys = experiment_registry.get_all()
  return [k.removeprefix(prefix) for k in keys if k.startswith(prefix)]


@pytest.mark.parametrize('name', registered())
def test_every_registered_experiment_is_whole(name):
  key = f'pax_softmoe.experiments.{name}'
  cls = experiment_registry.get(key)
  assert cls is getattr(experiments, name)
  assert cls.__doc__
  experiment = cls()
  experiment.validate()
  assert experiment.datasets()[0].is_training
  assert not experiment.datasets()[1].is_training
  experiment.task().Instantiate()
  specs = experiment.get_input_specs_provider_params().Instantiate()
  shape = specs.get_input_specs().image.shape
  assert shape[1:3] == (experiment.IMAGE_SIZE, experiment.IMAGE_SIZE)


def demo(**settings):
  return experiments.SoftMoEFashionMnist.with_settings(**settings)()


def test_settings_reach_the_task():
  config = experiments.SoftMoEFashionMnist.as_config(
      NUM_EXPERTS=4, LEARNING_RATE=0.5, COMPUTE_DTYPE=jnp.bfloat16
  )
  model = config.task.model
  assert model.vit_tpl.moe_tpl.moe_tpl.num_experts == 4
  assert model.fprop_dtype == jnp.bfloat16
  assert config.task.train.learner.optimizer.learning_rate == 0.5
  # The class itself is as it was.
  assert experiments.SoftMoEFashionMnist.NUM_EXPERTS == 16


@pytest.mark.parametrize(
    'settings, message',
    [
        (dict(IMAGE_SIZE=30), 'images of 30 pixels cannot be cut into patches'),
        (
            dict(MODEL_DIMS=97),
            r'97 model dims \(MODEL_DIMS\) cannot be split into',
        ),
        (
            dict(NUM_EXPERTS=0),
            r'NUM_EXPERTS is 0 \(int\); it takes a whole number of 1 or more',
        ),
        (dict(TRAIN_BATCH_SIZE=0), 'TRAIN_BATCH_SIZE is 0 '),
        (dict(MOE_LAYERS=(0, 99)), 'MOE_LAYERS has 99, but blocks are 0 to'),
        (
            dict(REMAT='some'),
            r"REMAT is 'some' \(str\); it takes one of full, exchange",
        ),
        (
            dict(SHARDING='best'),
            r"SHARDING is 'best' \(str\); it takes one of expert_parallel",
        ),
        (
            dict(SHARDING_OVERRIDES={'weights.h': 'data'}),
            "sharding override 'weights.h': expected KIND.LETTER",
        ),
        (
            dict(SHARDING_OVERRIDES={'dense_weights.h': 'model'}),
            "no mesh axis 'model'; use replica, data, expert, mdl",
        ),
        (dict(NUM_CLASSES=11), 'the data has 10 classes and NUM_CLASSES is 11'),
        (dict(NUM_TRAIN_STEPS=10), 'do not fit into 10 steps'),
        (
            dict(ICI_MESH_SHAPE=(1, 2, 1, 1)),
            'a mesh of 1 x 2 x 1 x 1 needs 2 devices, and there are 1; set'
            r' ICI_MESH_SHAPE to one of \(1, 1, 1, 1\)',
        ),
        (
            dict(ICI_MESH_SHAPE=(1, 1)),
            (
                r'ICI_MESH_SHAPE is \(1, 1\) \(tuple\); it takes a size of 1 or'
                r' more for'
            ),
        ),
        (
            dict(DATA_DIR='/nonexistent'),
            'DATA_DIR: there is no folder /nonexistent',
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, message):
  with pytest.raises(ValueError, match=message):
    demo(**settings).validate()


def test_experts_that_do_not_divide_over_the_mesh(monkeypatch):
  monkeypatch.setattr(jax, 'device_count', lambda: 48)
  experiment = experiments.SoftMoEH14.with_settings(
      ICI_MESH_SHAPE=(1, 1, 48, 1), TRAIN_BATCH_SIZE=4800, EVAL_BATCH_SIZE=4800
  )()
  message = (
      'SoftMoEH14: 128 experts .* cannot be split over 48 devices of a 1 x 1 x'
      r' 48 x 1 mesh.*valid meshes: \(1, 3, 16, 1\)'
  )
  with pytest.raises(ValueError, match=message):
    experiment.validate()


@pytest.mark.parametrize(
    'devices, mesh',
    [(1, (1, 1, 1, 1)), (64, (1, 1, 64, 1)), (512, (1, 4, 128, 1))],
)
def test_default_mesh_has_the_widest_expert_axis(devices, mesh, monkeypatch):
  monkeypatch.setattr(jax, 'device_count', lambda: devices)
  experiment = experiments.SoftMoEH14()
  assert experiment.mesh_shape() == mesh
  experiment.validate()


def test_misspelt_setting_in_a_subclass_is_refused():
  class Misspelt(experiments.SoftMoEFashionMnist):
    NUM_EXPERT = 4

  with pytest.raises(ValueError, match='there is no setting NUM_EXPERT;'):
    Misspelt().validate()


def test_data_that_is_needed_and_not_given_is_asked_for():
  with pytest.raises(ValueError, match='DATA_DIR'):
    experiments.SoftMoEH14().datasets()[0].Instantiate()


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
