"""Collectives of programs that send a known number of bytes."""

import hlo_text
from pax_softmoe.hlo import collectives
import pytest

# What `x` of `hlo_programs` has on one device: float32[8, 16, 256].
X_BYTES = 8 * 16 * 256 * 4

ADD = """
%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}
"""


def of_text(text):
  header = 'HloModule m, num_partitions=8\n'
  return collectives.collectives(hlo_text.read(header + text))


@pytest.mark.parametrize(
    'name, kind, size, group_size',
    [
        ('all_to_all', 'all-to-all', X_BYTES, 4),
        ('all_gather', 'all-gather', 2 * X_BYTES, 2),
        ('all_reduce', 'all-reduce', X_BYTES, 4),
        ('reduce_scatter', 'reduce-scatter', 4 * X_BYTES, 4),
        ('permute', 'collective-permute', X_BYTES, 2),
        ('gather_by_constraint', 'all-gather', 16 * 16 * 4, 2),
    ],
)
def test_each_kind_once_with_its_bytes(compiled, name, kind, size, group_size):
  (found,) = collectives.collectives(compiled(name))
  assert found.kind == found.opcode == kind
  assert found.count == 1
  assert found.bytes == found.total_bytes == size
  assert found.dtype == found.source_dtype == 'f32'
  assert found.group_size == group_size


def test_groups_are_those_of_the_mesh_axis(compiled):
  (over_b,) = collectives.collectives(compiled('all_to_all'))
  assert over_b.groups == ((0, 1, 2, 3), (4, 5, 6, 7))
  (over_a,) = collectives.collectives(compiled('gather_by_constraint'))
  assert over_a.groups == ((0, 4), (1, 5), (2, 6), (3, 7))


def test_collective_in_a_loop_counts_every_turn(compiled):
  (found,) = collectives.collectives(compiled('all_to_all_in_scan'))
  assert found.count == 6
  assert found.bytes == X_BYTES
  assert found.total_bytes == 6 * X_BYTES


def test_source_tells_where_it_comes_from(compiled):
  (found,) = collectives.collectives(compiled('all_to_all'))
  assert 'all_to_all' in found.op_name
  assert 'hlo_programs.py:' in found.source


@pytest.mark.parametrize('name', ['all_to_all_bfloat16', 'all_reduce_bfloat16'])
def test_bfloat16_is_seen_where_the_cpu_sends_float32(compiled, name):
  (found,) = collectives.collectives(compiled(name))
  assert found.source_dtype == 'bf16'


def test_sum_of_each_devices_part_is_a_gather(compiled):
  (found,) = collectives.collectives(compiled('gather_as_sum'))
  assert (found.kind, found.opcode) == ('all-gather', 'all-reduce')
  assert found.bytes == 64 * 32 * 4
  # It goes round as a sum does, scattered and gathered.
  assert found.passes == 2


def test_sum_of_parts_that_do_not_depend_on_the_device_is_a_sum(compiled):
  (found,) = collectives.collectives(compiled('sum_of_slices'))
  assert found.kind == found.opcode == 'all-reduce'


def test_programs_without_any(compiled):
  assert collectives.collectives(compiled('matmul_whole')) == []


@pytest.mark.parametrize(
    'kind, passes',
    [
        ('all-to-all', 1),
        ('all-gather', 1),
        ('reduce-scatter', 1),
        ('all-reduce', 2),
        ('collective-permute', 1),
    ],
)
def test_how_often_bytes_go_round(kind, passes):
  found = collectives.Collective(
      kind, kind, 'c', 1, 100, 'f32', 'f32', ((0, 1, 2, 3),)
  )
  assert found.passes == passes


def test_asynchronous_pair_is_one():
  (found,) = of_text("""
ENTRY %main (x: bf16[4,2]) -> bf16[32,2] {
  %x = bf16[4,2] parameter(0)
  %start = (bf16[4,2], bf16[32,2]) all-gather-start(%x), replica_groups={{0,1,2,3,4,5,6,7}}, dimensions={0}
  ROOT %done = bf16[32,2] all-gather-done(%start)
}
""")
  assert (found.kind, found.bytes, found.count) == ('all-gather', 128, 1)


def test_asynchronous_computation_is_one():
  (found,) = of_text("""
ENTRY %main (x: bf16[4,2]) -> bf16[4,2] {
  %x = bf16[4,2] parameter(0)
  %start = ((bf16[4,2]), bf16[4,2], u32[]) all-to-all-start(%x), replica_groups={{0,1,2,3},{4,5,6,7}}, dimensions={0}
  ROOT %done = bf16[4,2] all-to-all-done(%start)
}
""")
  assert (found.kind, found.count) == ('all-to-all', 1)
  assert (found.bytes, found.group_size) == (16, 4)


def test_all_to_all_of_several_operands_is_one():
  (found,) = of_text("""
ENTRY %main (x: f32[4], y: f32[4]) -> (f32[4], f32[4]) {
  %x = f32[4] parameter(0)
  %y = f32[4] parameter(1)
  ROOT %all = (f32[4], f32[4]) all-to-all(%x, %y), replica_groups={{0,1},{2,3},{4,5},{6,7}}
}
""")
  assert (found.bytes, found.group_size) == (32, 2)


# Both as libtpu writes them: the zeros and the index go into a fusion.
GATHER_AND_SUM = ADD + """
%own_part (zeros: f32[64], index: s32[], mine: bf16[8]) -> f32[64] {
  %zeros = f32[64] parameter(0)
  %mine = bf16[8] parameter(2)
  %wide = f32[8] convert(%mine)
  %index = s32[] parameter(1)
  ROOT %dus = f32[64] dynamic-update-slice(%zeros, %wide, %index)
}

ENTRY %main (x: bf16[8], y: f32[64]) -> (f32[64], f32[64]) {
  %x = bf16[8] parameter(0)
  %y = f32[64] parameter(1)
  %zero = f32[] constant(0)
  %zeros.1 = f32[64] broadcast(%zero), dimensions={}
  %id = u32[] partition-id()
  %eight = u32[] constant(8)
  %offset = u32[] multiply(%id, %eight)
  %at = s32[] convert(%offset)
  %part = f32[64] fusion(%zeros.1, %at, %x), kind=kLoop, calls=%own_part
  ROOT %sum.1 = (f32[64], f32[64]) all-reduce(%part, %y), replica_groups={{0,1,2,3,4,5,6,7}}, to_apply=%add
}
"""


def test_all_reduce_of_a_gather_and_a_sum_is_both():
  gather, total = of_text(GATHER_AND_SUM)
  assert (gather.kind, gather.bytes) == ('all-gather', 256)
  assert (total.kind, total.bytes) == ('all-reduce', 256)
  assert gather.name == total.name == 'sum.1'


def test_part_of_something_other_than_zeros_is_a_sum():
  text = GATHER_AND_SUM.replace('constant(0)', 'constant(1)')
  (found,) = of_text(text)
  assert (found.kind, found.bytes) == ('all-reduce', 512)


FUSED = ADD + """
%all-reduce-scatter (p: f32[64]) -> f32[8] {
  %p = f32[64] parameter(0)
  %sum.1 = f32[64] all-reduce(%p), replica_groups={{0,1,2,3,4,5,6,7}}, to_apply=%add
  %id = u32[] partition-id()
  %b = f32[64] bitcast(%sum.1)
  ROOT %mine = f32[8] dynamic-slice(%b, %id), dynamic_slice_sizes={8}
}

ENTRY %main (x: f32[64]) -> f32[8] {
  %x = f32[64] parameter(0)
  ROOT %f = f32[8] CALLER(%x), ROLE=%all-reduce-scatter
}
"""


def test_all_reduce_fused_with_a_slice_is_a_reduce_scatter():
  text = FUSED.replace('CALLER', 'fusion').replace('ROLE', 'kind=kLoop, calls')
  (found,) = of_text(text)
  assert (found.kind, found.opcode) == ('reduce-scatter', 'all-reduce')
  assert found.bytes == 256
  assert found.passes == 1


def test_all_reduce_before_a_slice_is_an_all_reduce():
  text = FUSED.replace('CALLER', 'call').replace('ROLE', 'to_apply')
  (found,) = of_text(text)
  assert found.kind == 'all-reduce'


def test_summary_by_kind(compiled):
  found = collectives.collectives(compiled('all_to_all_in_scan'))
  found += collectives.collectives(compiled('all_to_all'))
  found += collectives.collectives(compiled('all_reduce'))
  assert collectives.summary(found) == {
      'all-to-all': {'count': 7, 'gb': 7 * X_BYTES / 1e9},
      'all-reduce': {'count': 1, 'gb': X_BYTES / 1e9},
  }
