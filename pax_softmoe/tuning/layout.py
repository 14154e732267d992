"""Which chip of a slice takes which place of a mesh."""

from collections.abc import Sequence
import dataclasses
import functools

from jax.experimental import mesh_utils
from pax_softmoe.analysis import tpu


@dataclasses.dataclass(frozen=True)
class _Chip:
  """What JAX asks of a TPU to find its place in a mesh."""

  id: int
  coords: tuple[int, int, int]
  core_on_chip: int = 0
  platform: str = 'tpu'
  device_kind: str = 'TPU v4'
  process_index: int = 0
  slice_index: int = 0


@functools.cache
def device_order(
    slice_name: str, mesh: tuple[int, ...]
) -> tuple[int, ...] | None:
  """Returns the order in which Pax puts the chips of a slice into a mesh.

  JAX gives each mesh axis whole axes of the slice, so that all its links serve
  that axis alone. Pax leaves it no other way: on 4x4x4 chips it can make
  meshes of 4, 16 and 64, but none with an axis of 2, 8 or 32.

  Args:
    slice_name: a key of `tpu.SLICES`.
    mesh: (replica, data, expert, mdl), as many as the slice has chips.

  Returns:
    For each place of the mesh, in row-major order, the number of its chip in
    JAX's own order; None if Pax cannot make such a mesh of the slice.
  """
  tpu_slice = tpu.find_slice(slice_name)
  chips = [_Chip(i, c) for i, c in enumerate(tpu_slice.coordinates)]
  try:
    placed = mesh_utils.create_device_mesh(mesh, chips)
  except NotImplementedError:
    return None
  return tuple(chip.id for chip in placed.flat)


def coordinates(
    slice_name: str, mesh: tuple[int, ...]
) -> Sequence[tuple[int, int, int]]:
  """Returns (x, y, z) for each place of a mesh that Pax can make."""
  all_coordinates = tpu.find_slice(slice_name).coordinates
  return [all_coordinates[i] for i in device_order(slice_name, mesh)]
