"""How often each computation of a compiled module runs, and where values arise.

A training step that scans over its layers has the layers' instructions once, in
the body of a loop. Whatever is summed over a program therefore counts each
instruction `executions(module)[instruction.computation]` times.
"""

from collections.abc import Mapping
import math

from pax_softmoe.hlo import module

# Opcodes that pass on the values of their first operand, perhaps in another
# layout or dtype.
_PASSING = frozenset([
    'bitcast',
    'convert',
    'copy',
    'copy-done',
    'copy-start',
    'optimization-barrier',
    'reshape',
    'transpose',
])
# What runs each computation that it names once. Of others, those are the scalar
# functions of reductions, sorts and scatters.
_ONCE = ('async-start', 'call', 'conditional', 'custom-call', 'fusion')
# If `a < b`, then `b > a`.
_MIRRORED = {'LT': 'GT', 'GT': 'LT', 'LE': 'GE', 'GE': 'LE'}


def executions(
    program: module.Module, unknown_trips: int | None = None
) -> Mapping[module.Computation, int]:
  """Returns how often each computation runs in one run of the module.

  A loop's body counts as often as the loop turns, its condition once more;
  loops in loops multiply. Every branch of a conditional counts as if it were
  taken, so that sums over them are upper bounds. The scalar functions of
  reductions, sorts and scatters count as zero.

  Args:
    program: the module.
    unknown_trips: how often a loop turns whose count cannot be told, or None
      to raise instead.

  Raises:
    ValueError: there is a loop whose number of turns cannot be told.
  """
  counts = {program.entry: 1}

  def count(computation: module.Computation) -> int:
    if computation not in counts:
      counts[computation] = sum(
          count(caller.computation) * _runs(caller, computation, unknown_trips)
          for caller in computation.callers
      )
    return counts[computation]

  for computation in program.computations:
    count(computation)
  return counts


def _runs(
    caller: module.Instruction,
    computation: module.Computation,
    unknown_trips: int | None,
) -> int:
  """Returns how often one run of `caller` runs a computation."""
  if caller.opcode != 'while':
    return int(caller.opcode in _ONCE)
  trips = trip_count(caller)
  trips = unknown_trips if trips is None else trips
  body, condition = caller.called
  if trips is None:
    # On TPU only the body tells where the loop comes from.
    named = [i for i in (caller, *body.instructions) if i.op_name]
    where = f'{named[0].op_name} {named[0].source}' if named else 'unnamed'
    raise ValueError(
        f'HLO module {body.module.name}: cannot tell how often the loop'
        f' {caller.name} turns ({where.strip()}): its bounds are not constants;'
        ' pass unknown_trips to count it as that many'
    )
  return trips + (computation is condition)


def trip_count(loop: module.Instruction) -> int | None:
  """Returns how often a while loop turns, or None if that cannot be told.

  The CPU compiler notes it as `known_trip_count`. That for TPUs does not: there
  it is computed from a counter with constant start, step and bound, which is
  what `lax.scan` and a `fori_loop` with constant bounds become.
  """
  known = loop.backend_config.get('known_trip_count')
  if known is not None:
    return int(known['n'])
  test = origin(loop.called[1].root)
  if test.opcode != 'compare':
    return None
  left, right = map(origin, test.operands)
  direction = test.proto.comparison_direction
  if left.integer is not None:
    left, right = right, left
    direction = _MIRRORED.get(direction, direction)
  index = _element_of_loop(left, loop)
  bound = right.integer
  if index is None or bound is None:
    return None
  start = _element(loop.operands[0], index)
  start = None if start is None else origin(start).integer
  step = _step(loop, index)
  if start is None or not step:
    return None
  if direction in ('LE', 'GE'):
    bound += 1 if direction == 'LE' else -1
  if direction == 'NE' and (bound - start) % step:
    return None
  return max(0, math.ceil((bound - start) / step))


def _step(loop: module.Instruction, index: int) -> int | None:
  """Returns what a turn adds to an element of the loop's tuple."""
  last = _element(loop.called[0].root, index)
  last = None if last is None else origin(last)
  if last is None or last.opcode not in ('add', 'subtract'):
    return None
  counter, step = map(origin, last.operands)
  if last.opcode == 'add' and counter.integer is not None:
    counter, step = step, counter
  if step.integer is None or _element_of_loop(counter, loop) != index:
    return None
  return step.integer if last.opcode == 'add' else -step.integer


def origin(instruction: module.Instruction) -> module.Instruction:
  """Follows a value back to the instruction that computes it.

  The way leads through copies, changes of layout and dtype, tuples, into
  fusions and calls and out of their parameters, and around loops that leave the
  value alone.
  """
  while (source := producer(instruction)) is not None:
    instruction = source
  return instruction


def producer(instruction: module.Instruction) -> module.Instruction | None:
  """Returns the one step of `origin` from there, or None at its end."""
  opcode = instruction.opcode
  if opcode in _PASSING:
    return instruction.operands[0]
  if opcode in ('fusion', 'call'):
    return instruction.called[0].root
  if opcode == 'parameter':
    caller = _only_caller(instruction.computation)
    if caller is not None and caller.opcode != 'while':
      return caller.operands[instruction.proto.parameter_number]
  if opcode == 'get-tuple-element':
    return _element(instruction.operands[0], instruction.proto.tuple_index)
  return None


def _element(made: module.Instruction, index: int) -> module.Instruction | None:
  """Returns what stands at `index` of a tuple, or None."""
  while True:
    if made.opcode == 'tuple':
      return made.operands[index]
    elif made.opcode in ('fusion', 'call'):
      made = made.called[0].root
    elif made.opcode == 'while' and _is_constant(made, index):
      made = made.operands[0]
    elif made.opcode == 'parameter':
      caller = _only_caller(made.computation)
      if caller is None:
        return None
      if caller.opcode == 'while' and not _is_constant(caller, index):
        return None
      made = caller.operands[made.proto.parameter_number]
    elif made.opcode in ('copy', 'optimization-barrier'):
      made = made.operands[0]
    else:
      return None


def _is_constant(loop: module.Instruction, index: int) -> bool:
  """Returns whether each turn leaves that element of the tuple as it is."""
  value = _element(loop.called[0].root, index)
  while value is not None:
    found = _element_of_loop(value, loop)
    if found is not None:
      return found == index
    value = producer(value)
  return False


def _element_of_loop(
    value: module.Instruction, loop: module.Instruction
) -> int | None:
  """Returns which element of the loop's tuple is read here, or None."""
  if value.opcode != 'get-tuple-element':
    return None
  read = value.operands[0]
  if read.opcode != 'parameter' or read.computation not in loop.called:
    return None
  return value.proto.tuple_index


def _only_caller(
    computation: module.Computation,
) -> module.Instruction | None:
  """Returns the caller whose operands are the computation's parameters."""
  callers = computation.callers
  if len(callers) != 1 or callers[0].opcode not in ('call', 'fusion', 'while'):
    return None
  return callers[0]
