"""Which chip of a slice takes which place of a mesh."""

from collections.abc import Sequence
import dataclasses
import functools

from pax_softmoe.sharding import device_mesh
from pax_softmoe.tpu import hardware


@dataclasses.dataclass(frozen=True)
class Chip:
  """What JAX asks of a TPU to find its place in a mesh."""

  id: int
  coords: tuple[int, int, int]
  slice_index: int = 0
  core_on_chip: int = 0
  platform: str = 'tpu'
  device_kind: str = 'TPU v4'
  process_index: int = 0


@functools.cache
def device_order(slice_name: str, mesh: tuple[int, ...]) -> tuple[int, ...]:
  """Returns the order in which Pax puts the chips of a slice into a mesh.

  Args:
    slice_name: a key of `hardware.SLICES`.
    mesh: (replica, data, expert, mdl), as many as the slice has chips.

  Returns:
    For each place of the mesh, in row-major order, the number of its chip in
    JAX's own order.
  """
  tpu_slice = hardware.find_slice(slice_name)
  chips = [Chip(i, c) for i, c in enumerate(tpu_slice.coordinates)]
  return tuple(chip.id for chip in device_mesh.create(mesh, None, chips).flat)


def coordinates(
    slice_name: str, mesh: tuple[int, ...]
) -> Sequence[tuple[int, int, int]]:
  """Returns (x, y, z) for each place of a mesh."""
  all_coordinates = hardware.find_slice(slice_name).coordinates
  return [all_coordinates[i] for i in device_order(slice_name, mesh)]
