"""Groups of devices in every form that they are written in."""

import hlo_text
import jax
from pax_softmoe.hlo import device_groups
import pytest


def all_to_all(groups):
  return hlo_text.read(f"""HloModule m, num_partitions=8

ENTRY %main (x: f32[8]) -> f32[8] {{
  %x = f32[8] parameter(0)
  ROOT %a = f32[8] all-to-all(%x), replica_groups={groups}, dimensions={{0}}
}}
""").entry.root


@pytest.mark.parametrize(
    'text, want',
    [
        ('{{0,1,2,3},{4,5,6,7}}', ((0, 1, 2, 3), (4, 5, 6, 7))),
        ('{{0,4},{1,5},{2,6},{3,7}}', ((0, 4), (1, 5), (2, 6), (3, 7))),
        ('{}', (tuple(range(8)),)),
    ],
)
def test_groups(text, want):
  assert device_groups.of(all_to_all(text)) == want


@pytest.mark.skipif(
    jax.__version_info__ < (0, 5), reason='jaxlib 0.4.26 knows no such form'
)
@pytest.mark.parametrize(
    'text, want',
    [
        ('[2,4]<=[8]', ((0, 1, 2, 3), (4, 5, 6, 7))),
        ('[1,8]<=[8]', (tuple(range(8)),)),
        ('[4,2]<=[2,4]T(1,0)', ((0, 4), (1, 5), (2, 6), (3, 7))),
        ('[4,2]<=[2,2,2]T(2,0,1)', ((0, 2), (4, 6), (1, 3), (5, 7))),
    ],
)
def test_groups_that_are_counted(text, want):
  assert device_groups.of(all_to_all(text)) == want


def test_pairs_of_a_permutation(compiled):
  (permute,) = [
      i
      for i in compiled('permute').instructions
      if i.opcode == 'collective-permute'
  ]
  assert device_groups.of(permute)[:4] == ((0, 1), (1, 2), (2, 3), (3, 0))


def of_mesh(sizes, axes, device_ids=()):
  """Returns a collective along parts of axes of a mesh.

  Args:
    sizes: of the axes of the mesh.
    axes: (axis,) or (axis, devices before the part, its size), the major first.
    device_ids: of the mesh; () for 0, 1, 2, …
  """
  instruction = all_to_all('{{0,1}}')
  proto = instruction.proto
  proto.ClearField('collective_device_list')
  proto.ClearField('replica_groups')
  groups = proto.mesh_axes_replica_group_list
  for i, size in enumerate(sizes):
    groups.mesh.axes.add(name=f'axis{i}', size=size)
  groups.mesh.device_ids.extend(device_ids)
  for i, *part in axes:
    axis = groups.axes.add(mesh_axis_index=i)
    if part:
      axis.sub_axis_info.pre_size, axis.sub_axis_info.size = part
  return instruction


@pytest.mark.skipif(
    jax.__version_info__ < (0, 5), reason='TensorFlow 2.9 knows no such form'
)
@pytest.mark.parametrize(
    'sizes, axes, device_ids, want',
    [
        ([2, 4], [(1,)], (), ((0, 1, 2, 3), (4, 5, 6, 7))),
        ([2, 4], [(0,)], (), ((0, 4), (1, 5), (2, 6), (3, 7))),
        ([2, 4], [(0,), (1,)], (), (tuple(range(8)),)),
        # The first axis is the major one, whatever its place in the mesh.
        ([2, 2], [(1,), (0,)], (), ((0, 2, 1, 3),)),
        ([2, 2], [(1,)], (0, 2, 1, 3), ((0, 2), (1, 3))),
        # Eight devices as 2 x 2 x 2: the middle, the last, and both.
        ([8], [(0, 2, 2)], (), ((0, 2), (1, 3), (4, 6), (5, 7))),
        ([8], [(0, 4, 2)], (), ((0, 1), (2, 3), (4, 5), (6, 7))),
        ([8], [(0, 1, 2), (0, 4, 2)], (), ((0, 1, 4, 5), (2, 3, 6, 7))),
        ([2, 4], [(0,), (1, 2, 2)], (), ((0, 1, 4, 5), (2, 3, 6, 7))),
    ],
)
def test_groups_along_axes_of_a_mesh(sizes, axes, device_ids, want):
  assert device_groups.of(of_mesh(sizes, axes, device_ids)) == want


@pytest.mark.skipif(
    jax.__version_info__ < (0, 10), reason='jaxlib before 0.10 has no such form'
)
@pytest.mark.parametrize(
    'text, want',
    [
        ("mesh['a'=2,'b'=4] {'b'}", ((0, 1, 2, 3), (4, 5, 6, 7))),
        (
            "mesh['a'=4,'b'=2], device_ids=([2,4]T(1,0)) {'a'}",
            ((0, 1, 2, 3), (4, 5, 6, 7)),
        ),
        (
            "mesh['a'=4,'b'=2], device_ids=([2,4]T(1,0)) {'b'}",
            ((0, 4), (1, 5), (2, 6), (3, 7)),
        ),
        # Devices 0 2 1 3 4 6 5 7 in a row; the middle axis of 2 x 2 x 2.
        (
            "mesh['a'=8], device_ids=([2,2,2]T(0,2,1)) {'a':(2)2}",
            ((0, 1), (2, 3), (4, 5), (6, 7)),
        ),
    ],
)
def test_groups_along_axes_of_a_mesh_as_xla_writes_them(text, want):
  assert device_groups.of(all_to_all(text)) == want


@pytest.mark.skipif(
    jax.__version_info__ < (0, 5), reason='TensorFlow 2.9 knows no such form'
)
def test_a_field_of_the_mesh_that_is_not_known_is_refused():
  instruction = of_mesh([2, 4], [(1,)])
  # Field 9 of MeshProto, which there is not: one byte of text.
  mesh = instruction.proto.mesh_axes_replica_group_list.mesh
  mesh.MergeFromString(b'\x4a\x01x')
  with pytest.raises(
      ValueError, match='^a has its groups of devices in a form'
  ):
    device_groups.of(instruction)


@pytest.mark.skipif(
    jax.__version_info__ < (0, 5), reason='TensorFlow 2.9 knows no such form'
)
def test_a_form_that_says_nothing_is_refused():
  with pytest.raises(
      ValueError, match='^a has its groups of devices in a form'
  ):
    device_groups.of(of_mesh([2, 4], []))


def test_what_a_newer_compiler_wrote_is_refused():
  instruction = all_to_all('{}')
  # Field 1000 of HloInstructionProto, which there is not: five bytes of text.
  instruction.proto.MergeFromString(b'\xc2\x3e\x05later')
  with pytest.raises(ValueError, match='use a jaxlib of one of its locks'):
    device_groups.of(instruction)
