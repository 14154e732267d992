"""Which devices a collective instruction connects."""

from collections.abc import Iterable
from collections.abc import Iterator
import functools
import math
from typing import Any

from google.protobuf import descriptor_pb2
from google.protobuf import descriptor_pool
from google.protobuf import message as protobuf_message
from google.protobuf import message_factory
from google.protobuf import unknown_fields
import numpy as np
from pax_softmoe.hlo import module

Groups = tuple[tuple[int, ...], ...]

_FORMS = ('collective_device_list', 'iota_collective_device_list')
_OF_MESH = 'mesh_axes_replica_group_list'
# The field for an array of devices that is transposed.
_MESH_ORDER = ('MeshProto', 3)


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
  of_mesh = getattr(proto, _OF_MESH, None)
  if of_mesh is not None and of_mesh.axes:
    unread = set(_unread(of_mesh)) - {_MESH_ORDER}
    if not unread:
      return _along(of_mesh)
  given = {field.name: value for field, value in proto.ListFields()}
  # Of what this TensorFlow has no name for, a newer XLA may have written them.
  messages = [given[name] for name in _FORMS if name in given]
  if (
      _OF_MESH in given
      or len(unknown_fields.UnknownFieldSet(proto))
      or any(any(_unread(message)) for message in messages)
  ):
    raise ValueError(
        f'{instruction.name} has its groups of devices in a form that this'
        ' package does not read; use a jaxlib of one of its locks'
    )
  return (tuple(range(instruction.computation.module.num_devices)),)


def _unread(message: Any) -> Iterator[tuple[str, int]]:
  """Yields the message and number of each field that has no name here."""
  for field in unknown_fields.UnknownFieldSet(message):
    yield message.DESCRIPTOR.name, field.field_number
  for field, value in message.ListFields():
    if field.message_type:
      single = isinstance(value, protobuf_message.Message)
      for part in [value] if single else value:
        yield from _unread(part)


def _order(mesh: Any) -> np.ndarray:
  """Returns the device at each place of a mesh, in one row.

  They are listed, or 0, 1, 2, … in an array that is transposed.
  """
  if mesh.device_ids:
    return np.array(mesh.device_ids)
  numbers = np.arange(math.prod(axis.size for axis in mesh.axes))
  for field in unknown_fields.UnknownFieldSet(mesh):
    array = _transposed_array().FromString(field.data)
    numbers = numbers.reshape(array.dims).transpose(array.axes).reshape(-1)
  return numbers


@functools.cache
def _transposed_array() -> Any:
  """Returns the class of `_MESH_ORDER`, which TensorFlow 2.21 does not have."""
  file = descriptor_pb2.FileDescriptorProto(name='array', syntax='proto3')
  fields = file.message_type.add(name='TransposedArray').field
  for number, name in enumerate(['dims', 'axes'], 1):
    fields.add(
        name=name, number=number, type='TYPE_INT64', label='LABEL_REPEATED'
    )
  pool = descriptor_pool.DescriptorPool()
  pool.Add(file)
  found = pool.FindMessageTypeByName('TransposedArray')
  return message_factory.GetMessageClass(found)


def _along(of_mesh: Any) -> Groups:
  """Returns the devices of a mesh that differ along some axes alone.

  An axis may be split: of 8 devices, the part (2)2 are 2 of 2 x 2 x 2.
  """
  sizes = [axis.size for axis in of_mesh.mesh.axes]
  parts = []  # (axis, where a part begins, where it ends), by strides.
  for axis in of_mesh.axes:
    i = axis.mesh_axis_index
    before, size = 1, sizes[i]
    if axis.HasField('sub_axis_info'):
      before, size = axis.sub_axis_info.pre_size, axis.sub_axis_info.size
    parts.append((i, before, before * size))
  factors = []  # (axis, where it begins, how many)
  for i, size in enumerate(sizes):
    cuts = sorted({1, size, *(n for j, *ends in parts if j == i for n in ends)})
    factors += [(i, a, b // a) for a, b in zip(cuts, cuts[1:])]
  chosen = [
      k
      for i, first, last in parts
      for k, (j, start, _) in enumerate(factors)
      if i == j and first <= start < last
  ]
  others = [k for k in range(len(factors)) if k not in chosen]
  numbers = _order(of_mesh.mesh).reshape([n for *_, n in factors])
  numbers = numbers.transpose(others + chosen)
  width = math.prod(factors[k][2] for k in chosen)
  return tuple(tuple(row) for row in numbers.reshape(-1, width).tolist())


def _listed(groups: Iterable[Any]) -> Groups:
  return tuple(tuple(group.replica_ids) for group in groups)


def _counted(iota: Any) -> Groups:
  """Returns groups of 0, 1, 2, … in an array that is transposed and cut."""
  dims = tuple(iota.iota_reshape_dims)
  numbers = np.arange(np.prod(dims)).reshape(dims)
  numbers = numbers.transpose(tuple(iota.iota_transpose_perm) or None)
  rows = numbers.reshape(iota.num_replica_groups, iota.num_devices_per_group)
  return tuple(tuple(row) for row in rows.tolist())
