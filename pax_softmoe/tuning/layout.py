"""Which device of a slice takes which place of a mesh."""

from collections.abc import Sequence
import dataclasses
import functools

import jax
from pax_softmoe.sharding import device_mesh
from pax_softmoe.tpu import hardware


@dataclasses.dataclass(frozen=True)
class Device:
  """What JAX asks of a TPU to find its place in a mesh."""

  id: int
  coords: tuple[int, int, int]
  core_on_chip: int
  device_kind: str
  slice_index: int = 0
  platform: str = 'tpu'
  process_index: int = 0


@functools.cache
def device_order(slice_name: str, mesh: tuple[int, ...]) -> tuple[int, ...]:
  """Returns the order in which Pax puts the devices of a slice into a mesh.

  Args:
    slice_name: a key of `hardware.SLICES`.
    mesh: (replica, data, expert, mdl), as many as the slice has devices.

  Returns:
    For each place of the mesh, in row-major order, the number of its device
    in JAX's own order.
  """
  tpu_slice = hardware.find_slice(slice_name)
  if tpu_slice.chip.devices > 1 and jax.__version_info__ < (0, 10):
    raise ValueError(
        f'{tpu_slice.name} is not for jax {jax.__version__}; use jax 0.10.2, as'
        ' `make env-new` installs it'
    )
  of_slice = devices(tpu_slice)
  return tuple(d.id for d in device_mesh.create(mesh, None, of_slice).flat)


def devices(tpu_slice: hardware.Slice, slice_index: int = 0) -> list[Device]:
  """Returns the devices of a slice in JAX's own order.

  Args:
    tpu_slice: which.
    slice_index: how many others there are before it.
  """
  chip = tpu_slice.chip
  first = slice_index * tpu_slice.devices
  return [
      Device(first + i, at, i % chip.devices, chip.device_kinds[0], slice_index)
      for i, at in enumerate(tpu_slice.coordinates)
  ]


def coordinates(
    slice_name: str, mesh: tuple[int, ...]
) -> Sequence[tuple[int, int, int]]:
  """Returns (x, y, z) for each place of a mesh."""
  all_coordinates = hardware.find_slice(slice_name).coordinates
  return [all_coordinates[i] for i in device_order(slice_name, mesh)]
