"""Cells of the table of presets."""

from pax_softmoe.bench import measure_presets
from pax_softmoe.hlo import collectives
from pax_softmoe.sharding import axis_rules


def exchange(kind, count, size, dtype, source_dtype):
  return collectives.Collective(
      kind=kind,
      opcode=kind,
      name='x',
      count=count,
      bytes=size,
      dtype=dtype,
      source_dtype=source_dtype,
      groups=((0, 1),),
  )


def test_bytes_are_those_of_the_dtype_that_the_model_sends():
  found = [
      # Two of 3 MB that were widened, and one of 1 MB that was not.
      exchange('all-to-all', 2, 6_000_000, 'f32', 'bf16'),
      exchange('all-to-all', 1, 1_000_000, 'f32', 'f32'),
      exchange('all-gather', 1, 5, 'f32', 'f32'),
  ]
  assert measure_presets.cell(found, 'all-to-all') == '3 (7.0)'
  assert measure_presets.cell(found, 'all-reduce') == '-'


def test_every_preset_has_a_row():
  names = [preset for preset, _ in measure_presets.CASES]
  assert names == list(axis_rules.PRESETS)
