"""How often computations run."""

import re

import hlo_text
from pax_softmoe.hlo import graph
from pax_softmoe.hlo import module
import pytest

# `i` starts at %start and turns as long as %test says; the bound is the last
# element of the tuple, which the body leaves alone.
LOOP = """HloModule loop

%body (p: (s32[], f32[8], s32[])) -> (s32[], f32[8], s32[]) {
  %p = (s32[], f32[8], s32[]) parameter(0)
  %i = s32[] get-tuple-element(%p), index=0
  %x = f32[8] get-tuple-element(%p), index=1
  %n = s32[] get-tuple-element(%p), index=2
  %step = s32[] constant(STEP)
  %next = s32[] OPERATION(%i, %step)
  %y = f32[8] exponential(%x)
  %same = s32[] copy(%n)
  ROOT %t = (s32[], f32[8], s32[]) tuple(%next, %y, %same)
}

%condition (q: (s32[], f32[8], s32[])) -> pred[] {
  %q = (s32[], f32[8], s32[]) parameter(0)
  %j = s32[] get-tuple-element(%q), index=0
  %m = s32[] get-tuple-element(%q), index=2
  ROOT %test = pred[] compare(TEST), direction=DIRECTION
}

ENTRY %main (x: f32[8]) -> (s32[], f32[8], s32[]) {
  %x.1 = f32[8] parameter(0)
  %first = s32[] constant(FIRST)
  %start = s32[] copy(%first)
  %bound = s32[] BOUND
  %tuple = (s32[], f32[8], s32[]) tuple(%start, %x.1, %bound)
  ROOT %while = (s32[], f32[8], s32[]) while(%tuple), condition=%condition, body=%body, metadata={op_name="jit(f)/while" source_file="model.py" source_line=7}
}
"""


UNKNOWN = 'custom-call(%x.1), custom_call_target="f"'


def loop(
    first=0,
    bound='constant(10)',
    step=1,
    operation='add',
    test='%j, %m',
    direction='LT',
):
  text = LOOP
  for name, value in {
      'FIRST': first,
      'BOUND': bound,
      'STEP': step,
      'OPERATION': operation,
      'TEST': test,
      'DIRECTION': direction,
  }.items():
    text = text.replace(name, str(value))
  return hlo_text.read(text)


def trips(program):
  loops = [i for i in program.instructions if i.opcode == 'while']
  return sorted(map(graph.trip_count, loops))


def named(program, name):
  (found,) = [i for i in program.instructions if i.name == name]
  return found


def runs(program, **arguments):
  found = graph.executions(program, **arguments)
  return {computation.name: count for computation, count in found.items()}


@pytest.mark.parametrize(
    'changes, want',
    [
        ({}, 10),
        ({'first': 3, 'step': 2}, 4),
        ({'direction': 'LE'}, 11),
        ({'direction': 'NE', 'step': 5}, 2),
        ({'first': 12}, 0),
        ({'test': '%m, %j', 'direction': 'GT'}, 10),
        ({'first': 12, 'operation': 'subtract', 'direction': 'GT'}, 2),
        ({'first': 12, 'step': -1, 'direction': 'GE'}, 3),
    ],
)
def test_trip_count_follows_from_constant_bounds(changes, want):
  assert graph.trip_count(loop(**changes).entry.root) == want


@pytest.mark.parametrize(
    'changes',
    [
        {'bound': UNKNOWN},
        {'operation': 'multiply'},
        {'step': 0},
        {'direction': 'NE', 'step': 3},
        {'test': '%m, %m'},
    ],
)
def test_trip_count_is_unknown_otherwise(changes):
  assert graph.trip_count(loop(**changes).entry.root) is None


def test_unknown_loop_raises_unless_told_how_often_it_turns():
  program = loop(bound=UNKNOWN)
  with pytest.raises(ValueError, match='while turns .jit.f./while model.py:7'):
    graph.executions(program)
  assert runs(program, unknown_trips=3) == {
      'main': 1,
      'body': 3,
      'condition': 4,
  }


@pytest.mark.parametrize(
    'name, want',
    [('scan', [7]), ('nested', [3, 5]), ('count_up', [7]), ('count_down', [4])],
)
def test_trip_counts_of_compiled_loops(compiled, name, want):
  assert trips(compiled(name)) == want


@pytest.mark.parametrize(
    'name, want',
    [('scan', [7]), ('nested', [3, 5]), ('count_up', [7]), ('count_down', [4])],
)
def test_trip_counts_of_compiled_loops_without_the_compilers_notes(
    compiled, name, want, monkeypatch
):
  monkeypatch.setattr(module.Instruction, 'backend_config', {})
  assert trips(compiled(name)) == want


def test_nested_loops_multiply(compiled):
  program = compiled('nested')
  counts = graph.executions(program)
  products = {
      i.computation
      for i in program.instructions
      if re.search(r'dot_general', i.op_name) and i.opcode != 'fusion'
  }
  assert {counts[computation] for computation in products} == {3, 15}


def test_compiled_loop_with_variable_bound_is_unknown(compiled):
  with pytest.raises(ValueError, match='unknown_trips'):
    graph.executions(compiled('unknown_loop'))


def test_every_branch_counts_and_scalar_functions_do_not():
  program = hlo_text.read("""HloModule branches

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}

%yes (c: f32[8]) -> f32[8] {
  ROOT %c = f32[8] parameter(0)
}

%no (d: f32[8]) -> f32[8] {
  %d = f32[8] parameter(0)
  ROOT %called = f32[8] call(%d), to_apply=%yes
}

ENTRY %main (p: pred[], x: f32[8]) -> f32[8] {
  %p = pred[] parameter(0)
  %x = f32[8] parameter(1)
  %zero = f32[] constant(0)
  %r = f32[] reduce(%x, %zero), dimensions={0}, to_apply=%add
  ROOT %if = f32[8] conditional(%p, %x, %x), true_computation=%yes, false_computation=%no
}
""")
  assert runs(program) == {'main': 1, 'add': 0, 'no': 1, 'yes': 2}


def test_origin_leads_through_fusions_tuples_and_unchanged_loop_values():
  program = loop()
  assert graph.origin(named(program, 'same')).name == 'bound'
  assert graph.origin(named(program, 'i')).name == 'i'
