"""Which devices a collective instruction connects."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from pax_softmoe.hlo import module

Groups = tuple[tuple[int, ...], ...]

_FORMS = ('collective_device_list', 'iota_collective_device_list')
_UNREAD = 'mesh_axes_replica_group_list'


def of(instruction: module.Instruction) -> Groups:
  """Returns which devices a collective connects.

  Args:
    instruction: the collective.

  Returns:
    Groups of device numbers; of a collective-permute, pairs (from, to).

  Raises:
    ValueError: the groups are written in a form that is not known.
  """
  proto = instruction.proto
  if proto.source_target_pairs:
    return tuple((p.source, p.target) for p in proto.source_target_pairs)
  if proto.replica_groups:
    return _listed(proto.replica_groups)
  # Newer versions of XLA have other forms, older ones not even their names.
  for form in (getattr(proto, name, None) for name in _FORMS):
    if groups := getattr(form, 'replica_groups', ()):
      return _listed(groups)
    iota = getattr(form, 'iota_replica_group_list', form)
    if getattr(iota, 'num_replica_groups', 0):
      return _counted(iota)
  if any(field.name == _UNREAD for field, _ in proto.ListFields()):
    raise ValueError(
        f'{instruction.name} names its groups of devices by axes of a mesh,'
        ' which this package does not read; use the pinned jaxlib'
    )
  return (tuple(range(instruction.computation.module.num_devices)),)


def _listed(groups: Iterable[Any]) -> Groups:
  return tuple(tuple(group.replica_ids) for group in groups)


def _counted(iota: Any) -> Groups:
  """Returns groups of 0, 1, 2, … in an array that is transposed and cut."""
  dims = tuple(iota.iota_reshape_dims)
  numbers = np.arange(np.prod(dims)).reshape(dims)
  numbers = numbers.transpose(tuple(iota.iota_transpose_perm) or None)
  rows = numbers.reshape(iota.num_replica_groups, iota.num_devices_per_group)
  return tuple(tuple(row) for row in rows.tolist())
