"""Which chip takes which place of a mesh."""

from pax_softmoe.sharding import device_mesh
from pax_softmoe.sharding import fits
from pax_softmoe.tpu import hardware
from pax_softmoe.tpu import libtpu
from pax_softmoe.tuning import layout
import pytest


def test_an_axis_of_the_slice_is_split_in_neighbours():
  places = layout.coordinates('v4-1024', (1, 4, 128, 1))
  for group in range(4):
    x, y, z = zip(*places[128 * group : 128 * (group + 1)])
    assert set(x) == set(y) == set(range(8))
    assert set(z) == {2 * group, 2 * group + 1}


def test_places_of_a_mesh_fill_the_slice():
  places = layout.coordinates('v4-64', (1, 4, 8, 1))
  assert sorted(places) == sorted(hardware.find_slice('v4-64').coordinates)
  # The expert axis is 2x4 chips in a plane.
  for group in range(4):
    x, y, z = zip(*places[8 * group : 8 * group + 8])
    assert sorted(len(set(axis)) for axis in (x, y, z)) == [1, 2, 4]


@pytest.mark.libtpu
def test_places_are_those_that_jax_gives_real_chips():
  try:
    chips = libtpu.topology_devices('v4-32')
  except RuntimeError as error:
    pytest.skip(str(error))
  for mesh in fits.meshes(len(chips)):
    real = device_mesh.create(mesh, None, chips)
    got = layout.coordinates('v4-32', mesh)
    assert got == [tuple(chip.coords) for chip in real.flat]
