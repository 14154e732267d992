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


@pytest.mark.skipif(
    jax.__version_info__ < (0, 5), reason='TensorFlow 2.9 knows no such form'
)
def test_unknown_form_is_refused():
  instruction = all_to_all('{{0,1}}')
  instruction.proto.collective_device_list.Clear()
  instruction.proto.ClearField('replica_groups')
  instruction.proto.mesh_axes_replica_group_list.SetInParent()
  with pytest.raises(
      ValueError, match='^a names its groups of devices by axes'
  ):
    device_groups.of(instruction)
