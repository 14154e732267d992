"""Registered experiments: sizes of the paper, settings, and their errors."""

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
