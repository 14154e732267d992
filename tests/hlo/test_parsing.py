"""Reading the text of compiled modules."""

from pax_softmoe.hlo import parsing
from pax_softmoe.hlo import shapes
import pytest

TEXT = r"""HloModule jit_step, is_scheduled=true, entry_computation_layout={(f32[8]{0})->f32[8]{0}}, replica_count=2, num_partitions=4

FileNames
1 "model.py"

%fused (p.0: f32[8]) -> f32[8] {
  %p.0 = f32[8]{0:T(128)} parameter(0)
  ROOT %exp = f32[8]{0:T(128)} exponential(%p.0)
}

ENTRY %main (x: f32[8]) -> f32[8] {
  %x = f32[8]{0:T(128)} parameter(0), sharding={devices=[4]<=[4]}, metadata={op_name="x[\'a\']"}
  %pair = (f32[8]{0:T(128)S(3)}, /*index=1*/bf16[4,2]{1,0:T(8,128)(2,1)}) custom-call(f32[8]{0} %x, /*index=1*/%x), custom_call_target="make(it)", dims={0,2}, groups=[2,4]<=[4,2]T(1,0), metadata={op_name="jit(step)/a,b->c/dot, calls=%none" source_file="model.py" source_line=7}, backend_config={"estimated_cycles":"1395","n":3}
  %gte = f32[8]{0} get-tuple-element(%pair), index=0
  ROOT %out = f32[8]{0} fusion(%gte), kind=kLoop, calls=%fused
}
"""


@pytest.fixture(name='module')
def parsed():
  return parsing.parse(TEXT)


def test_module_has_its_computations_and_devices(module):
  assert module.name == 'jit_step'
  assert module.num_devices == 8
  assert list(module.computations) == ['fused', 'main']
  assert module.entry.name == 'main'
  assert module.entry.root.name == 'out'


def test_shapes_of_arrays_and_tuples(module):
  pair = module.entry.instructions['pair']
  assert pair.shapes == (
      shapes.Shape('f32', (8,)),
      shapes.Shape('bf16', (4, 2)),
  )
  assert [shape.bytes for shape in pair.shapes] == [32, 16]


@pytest.mark.parametrize(
    'text, size',
    [
        ('f32[]', 4),
        ('pred[3]', 3),
        ('s4[3]', 2),
        ('f8e4m3fn[5]', 5),
        ('c64[2]', 16),
        ('bf16[<=8,2]', 32),
        ('token[]', 0),
        ('f32[0,4]', 0),
    ],
)
def test_bytes_of_a_shape(text, size):
  (shape,) = shapes.parse(text)
  assert shape.bytes == size


def test_operands_with_and_without_their_shapes(module):
  pair = module.entry.instructions['pair']
  assert pair.operands == ('x', 'x')
  assert module.operand(pair, 1).opcode == 'parameter'


def test_attributes_end_where_they_end(module):
  pair = module.entry.instructions['pair']
  assert pair.opcode == 'custom-call'
  assert pair.attribute('custom_call_target') == '"make(it)"'
  assert pair.attribute('groups') == '[2,4]<=[4,2]T(1,0)'
  assert pair.integers('dims') == (0, 2)
  assert pair.attribute('missing') is None


def test_metadata_is_no_attribute(module):
  pair = module.entry.instructions['pair']
  assert pair.op_name == 'jit(step)/a,b->c/dot, calls=%none'
  assert pair.source == 'model.py:7'
  assert pair.calls == ()


def test_numbers_of_the_backend_config(module):
  pair = module.entry.instructions['pair']
  assert pair.backend_number('estimated_cycles') == 1395
  assert pair.backend_number('n') == 3
  assert pair.backend_number('missing') is None


@pytest.mark.parametrize(
    'config',
    [
        r'{"known_trip_count":{"n":"12"}}',
        r'{"known_trip_count": {"n": 12}}',
        r'"{\"known_trip_count\":{\"n\":\"12\"},\"other\":1}"',
    ],
)
def test_trip_counts_of_the_backend_config_in_every_spelling(config):
  text = TEXT.replace('index=0\n', f'index=0, backend_config={config}\n')
  gte = parsing.parse(text).entry.instructions['gte']
  assert gte.backend_number('known_trip_count') == 12
  assert gte.attribute('index') == '0'


def test_callers_of_a_computation(module):
  ((caller, role),) = module.callers['fused']
  assert (caller.name, role) == ('out', 'calls')
  assert module.callers['main'] == []


def test_other_text_is_refused():
  with pytest.raises(ValueError, match='not the text of an HLO module'):
    parsing.parse('module @jit_step {')


@pytest.mark.parametrize(
    'broken, message',
    [
        (TEXT.replace('ENTRY ', ''), 'no complete ENTRY'),
        (TEXT.replace('  ROOT %exp', '  %exp'), 'fused has no ROOT'),
        (TEXT.replace('parameter(0)\n', 'parameter(0\n'), 'cannot read'),
    ],
)
def test_broken_text_is_refused(broken, message):
  with pytest.raises(ValueError, match=message):
    parsing.parse(broken)
