"""Reading compiled programs."""

import hlo_text
import jax
from jax import numpy as jnp
from pax_softmoe.hlo import module
import pytest

TEXT = r"""HloModule jit_step, is_scheduled=true, replica_count=2, num_partitions=4

%fused (p.0: f32[8]) -> f32[8] {
  %p.0 = f32[8]{0} parameter(0)
  ROOT %exp = f32[8]{0} exponential(%p.0)
}

ENTRY %main (x: f32[8]) -> f32[8] {
  %x = f32[8]{0} parameter(0), metadata={op_name="x[\'a\']"}
  %pair = (f32[8]{0}, (bf16[4,2]{1,0}, u8[3]{0})) custom-call(%x, %x), custom_call_target="make(it)", metadata={op_name="jit(step)/a,b->c/dot" source_file="model.py" source_line=7}, backend_config={"window_config":{"estimated_cycles":"1395"}}
  %gte = f32[8]{0} get-tuple-element(%pair), index=0
  ROOT %out = f32[8]{0} fusion(%gte), kind=kLoop, calls=%fused
}
"""


NEW = pytest.mark.skipif(
    jax.__version_info__ < (0, 5), reason='TensorFlow 2.9 has no such dtype'
)


@pytest.fixture(name='program')
def _program():
  return hlo_text.read(TEXT)


def named(program, name):
  (found,) = [i for i in program.instructions if i.name == name]
  return found


def test_module_has_its_computations_and_devices(program):
  assert program.name == 'jit_step'
  assert program.num_devices == 8
  assert [c.name for c in program.computations] == ['fused', 'main']
  assert program.entry.name == 'main'
  assert program.entry.root is named(program, 'out')
  assert [i.name for i in program.instructions if i.is_root] == ['exp', 'out']


def test_shapes_of_arrays_and_tuples(program):
  shapes = named(program, 'pair').shapes
  assert shapes == (
      module.Shape('f32', (8,)),
      module.Shape('bf16', (4, 2)),
      module.Shape('u8', (3,)),
  )
  assert [shape.bytes for shape in shapes] == [32, 16, 3]


@pytest.mark.parametrize(
    'text, size',
    [
        ('f32[]', 4),
        ('pred[3]', 3),
        pytest.param('s4[3]', 2, marks=NEW),
        pytest.param('f8e4m3fn[5]', 5, marks=NEW),
        ('c64[2]', 16),
        ('bf16[<=8,2]', 32),
        ('token[]', 0),
        ('f32[0,4]', 0),
    ],
)
def test_bytes_of_a_shape(text, size):
  program = hlo_text.read(
      f'HloModule m\nENTRY %e (p: {text}) -> {text}'
      f' {{\n ROOT %p = {text} parameter(0)\n}}\n'
  )
  (shape,) = program.entry.root.shapes
  assert shape.bytes == size


def test_links_between_instructions(program):
  pair, out = named(program, 'pair'), named(program, 'out')
  x = named(program, 'x')
  assert pair.operands == (x, x) and x.opcode == 'parameter'
  assert program.entry.users(x) == [pair]
  (fused,) = out.called
  assert fused.callers == [out]
  assert fused.root.name == 'exp'
  assert program.entry.callers == []


def test_where_an_instruction_comes_from(program):
  pair = named(program, 'pair')
  assert pair.op_name == 'jit(step)/a,b->c/dot'
  assert pair.source == 'model.py:7'
  assert named(program, 'out').op_name == named(program, 'out').source == ''


def test_what_the_compiler_notes_for_itself(program):
  pair = named(program, 'pair')
  assert pair.backend_config == {'window_config': {'estimated_cycles': '1395'}}
  assert named(program, 'out').backend_config == {}


@pytest.mark.parametrize(
    'text, integer, is_zero',
    [
        ('s32[] constant(-3)', -3, False),
        ('s64[] constant(0)', 0, True),
        ('u32[] constant(7)', 7, False),
        ('f32[] constant(0)', None, True),
        ('f32[] constant(-0)', None, True),
        ('f32[] constant(1)', None, False),
        ('bf16[] constant(0)', None, True),
        ('bf16[] constant(-0)', None, True),
        ('bf16[] constant(-1)', None, False),
        ('s8[] constant(-128)', None, False),
        ('pred[] constant(false)', None, True),
        ('pred[] constant(true)', None, False),
        ('s32[2] constant({0,0})', None, False),
    ],
)
def test_constants(text, integer, is_zero):
  shape = text.partition(' ')[0]
  root = hlo_text.read(
      f'HloModule m\nENTRY %e () -> {shape} {{\n ROOT %c = {text}\n}}\n'
  ).entry.root
  assert (root.integer, root.is_zero) == (integer, is_zero)


def test_a_program_of_jax_gives_it_itself():
  shape = jax.ShapeDtypeStruct((3, 5), jnp.float32)
  compiled = jax.jit(lambda x: x @ x.T).lower(shape).compile()
  program = module.of(compiled)
  assert program.num_devices == 1
  assert program.entry.root.shapes == (module.Shape('f32', (3, 3)),)
  assert any('dot_general' in i.op_name for i in program.instructions)
