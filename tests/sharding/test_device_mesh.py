"""Meshes of TPU chips, and that Pax uses them."""

import jax
from jax.experimental import mesh_utils
import numpy as np
from pax_softmoe import experiments
from pax_softmoe.sharding import device_mesh
from pax_softmoe.tpu import hardware
from pax_softmoe.tpu import libtpu
from pax_softmoe.tuning import layout
from paxml import partitioning
from praxis import pax_fiddle
import pytest


def chips_of(slice_name, slices=1):
  of = hardware.find_slice(slice_name)
  return [chip for i in range(slices) for chip in layout.devices(of, i)]


@pytest.mark.parametrize('mesh', [(1, 1, 64, 1), (1, 4, 16, 1), (1, 1, 4, 16)])
def test_where_jax_needs_no_split_nothing_changes(mesh):
  chips = chips_of('v4-128')
  want = mesh_utils.create_device_mesh(mesh, chips)
  np.testing.assert_array_equal(device_mesh.create(mesh, None, chips), want)


def test_mesh_that_pax_cannot_make_by_itself():
  chips, mesh = chips_of('v4-1024'), (1, 4, 128, 1)
  with pytest.raises(NotImplementedError):
    mesh_utils.create_device_mesh(mesh, chips)
  got = device_mesh.create(mesh, None, chips)
  assert got.shape == mesh
  assert {chip.id for chip in got.flat} == set(range(512))


def test_each_slice_is_a_part_of_the_mesh():
  chips = chips_of('v4-128', slices=2)
  got = device_mesh.create((1, 2, 32, 1), (2, 1, 1, 1), chips)
  assert got.shape == (2, 2, 32, 1)
  for replica in range(2):
    assert {chip.slice_index for chip in got[replica].flat} == {replica}
  with pytest.raises(ValueError, match='slices'):
    device_mesh.create((1, 2, 32, 1), (3, 1, 1, 1), chips)


def pax_partitioner(experiment):
  """Returns what paxml.main makes of an experiment."""
  return partitioning.create_experiment_or_default_partitioner(
      experiment_config=experiment,
      jax_task=None,
      running_mode=partitioning.RunningMode.TRAIN,
      checkpoint_type=None,
      input_p=None,
      enable_auto_sharding=False,
  )


@pytest.mark.parametrize('is_config', [False, True])
def test_pax_takes_the_mesh_of_an_experiment(is_config, monkeypatch):
  want = np.array(jax.devices()[:1]).reshape(1, 1, 1, 1)
  asked = []

  def create(*shape):
    asked.append(shape)
    return want

  monkeypatch.setattr(device_mesh, 'create', create)
  settings = dict(ICI_MESH_SHAPE=(1, 1, 1, 1), DCN_MESH_SHAPE=(1, 1, 1, 1))
  cls = experiments.SoftMoEFashionMnist
  if is_config:
    experiment = pax_fiddle.build(cls.as_config(**settings))
  else:
    experiment = cls.with_settings(**settings)()
  made = pax_partitioner(experiment)
  assert asked == [((1, 1, 1, 1), (1, 1, 1, 1))]
  np.testing.assert_array_equal(made.global_mesh.devices, want)
  assert made.global_mesh.axis_names == ('replica', 'data', 'expert', 'mdl')


@pytest.mark.libtpu
def test_flagship_on_512_chips_of_the_tpu_compiler(monkeypatch):
  try:
    chips = libtpu.topology_devices('v4-1024')
  except RuntimeError as error:
    pytest.skip(str(error))
  monkeypatch.setattr(jax, 'devices', lambda: chips)
  mesh = (1, 4, 128, 1)
  experiment = experiments.SoftMoEH14.with_settings(ICI_MESH_SHAPE=mesh)()
  made = pax_partitioner(experiment).global_mesh.devices
  assert made.shape == mesh
  # The tuner counts on the same order.
  got = [tuple(chip.coords) for chip in made.flat]
  assert got == layout.coordinates('v4-1024', mesh)
