"""How often each computation of a compiled module runs, and where values arise.

A training step that scans over its layers has the layers' instructions once, in
the body of a loop. Whatever is summed over a program therefore counts each
instruction `executions(module)[instruction.computation]` times.
"""

from collections.abc import Mapping
import math

from pax_softmoe.hlo import parsing

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
# Roles in which a computation runs once each time its caller does. `to_apply`
# is that of a call; elsewhere it is the scalar function of a reduction.
_ONCE = (
    'calls',
    'branch_computations',
    'true_computation',
    'false_computation',
    'called_computations',
)


def executions(
    module: parsing.Module, unknown_trips: int | None = None
) -> Mapping[str, int]:
  """Returns how often each computation runs in one run of the module.

  A loop's body counts as often as the loop turns, its condition once more;
  loops in loops multiply. Every branch of a conditional counts as if it were
  taken, so that sums over them are upper bounds. The scalar functions of
  reductions, sorts and scatters count as zero.

  Args:
    module: the module.
    unknown_trips: how often a loop turns whose count cannot be told, or None
      to raise instead.

  Returns:
    Counts by name of the computation.

  Raises:
    ValueError: there is a loop whose number of turns cannot be told.
  """
  counts = {module.entry.name: 1}

  def count(name: str) -> int:
    if name not in counts:
      counts[name] = sum(
          count(caller.computation) * _runs(module, caller, role, unknown_trips)
          for caller, role in module.callers[name]
      )
    return counts[name]

  for name in module.computations:
    count(name)
  return counts


def _runs(
    module: parsing.Module,
    caller: parsing.Instruction,
    role: str,
    unknown_trips: int | None,
) -> int:
  """Returns how often one run of `caller` runs what it calls in that role."""
  if role in ('body', 'condition'):
    trips = trip_count(module, caller)
    trips = unknown_trips if trips is None else trips
    if trips is None:
      raise ValueError(
          f'HLO module {module.name}: cannot tell how often the loop'
          f' {caller.name} turns ({_description(module, caller)}): its bounds'
          ' are not constants; pass unknown_trips to count it as that many'
      )
    return trips + (role == 'condition')
  if role in _ONCE or caller.opcode == 'call':
    return 1
  return 0


def _description(module: parsing.Module, loop: parsing.Instruction) -> str:
  """Returns where a loop comes from; on TPU only its body tells."""
  body = module.computations[loop.called('body')].instructions.values()
  named = [i for i in (loop, *body) if i.op_name]
  return f'{named[0].op_name} {named[0].source}'.strip() if named else 'unnamed'


def trip_count(module: parsing.Module, loop: parsing.Instruction) -> int | None:
  """Returns how often a while loop turns, or None if that cannot be told.

  The CPU compiler notes it as `known_trip_count`. That for TPUs does not: there
  it is computed from a counter with constant start, step and bound, which is
  what `lax.scan` and a `fori_loop` with constant bounds become.
  """
  known = loop.backend_number('known_trip_count')
  if known is not None:
    return known
  condition = module.computations[loop.called('condition')]
  test = origin(module, condition.root)
  if test.opcode != 'compare':
    return None
  left, right = (origin(module, side) for side in module.operands(test))
  direction = test.attribute('direction') or ''
  if _integer(left) is not None:
    left, right = right, left
    direction = {'LT': 'GT', 'GT': 'LT', 'LE': 'GE', 'GE': 'LE'}.get(
        direction, direction
    )
  index = _element_of_loop(module, left, loop)
  bound = _integer(right)
  if index is None or bound is None:
    return None
  start = _element(module, module.operand(loop, 0), index)
  start = None if start is None else _integer(origin(module, start))
  step = _step(module, loop, index)
  if start is None or not step:
    return None
  if direction in ('LE', 'GE'):
    bound += 1 if direction == 'LE' else -1
  if direction == 'NE' and (bound - start) % step:
    return None
  return max(0, math.ceil((bound - start) / step))


def _step(
    module: parsing.Module, loop: parsing.Instruction, index: int
) -> int | None:
  """Returns what a turn adds to an element of the loop's tuple."""
  body = module.computations[loop.called('body')]
  last = _element(module, body.root, index)
  last = None if last is None else origin(module, last)
  if last is None or last.opcode not in ('add', 'subtract'):
    return None
  sides = [origin(module, side) for side in module.operands(last)]
  if last.opcode == 'add' and _integer(sides[0]) is not None:
    sides.reverse()
  step = _integer(sides[1])
  if step is None or _element_of_loop(module, sides[0], loop) != index:
    return None
  return step if last.opcode == 'add' else -step


def origin(
    module: parsing.Module, instruction: parsing.Instruction
) -> parsing.Instruction:
  """Follows a value back to the instruction that computes it.

  The way leads through copies, changes of layout and dtype, tuples, into
  fusions and calls and out of their parameters, and around loops that leave the
  value alone.
  """
  while True:
    source = producer(module, instruction)
    if source is None:
      return instruction
    instruction = source


def producer(
    module: parsing.Module, instruction: parsing.Instruction
) -> parsing.Instruction | None:
  """Returns the one step of `origin` from there, or None at its end."""
  opcode = instruction.opcode
  if opcode in _PASSING:
    return module.operand(instruction, 0)
  callee = _callee(module, instruction)
  if callee is not None:
    return callee.root
  if opcode == 'parameter':
    caller = _only_caller(module, instruction.computation)
    if caller is not None and caller.opcode != 'while':
      return module.operand(caller, int(instruction.operand_text))
  if opcode == 'get-tuple-element':
    index = int(instruction.attribute('index'))
    return _element(module, module.operand(instruction, 0), index)
  return None


def _element(
    module: parsing.Module, made: parsing.Instruction, index: int
) -> parsing.Instruction | None:
  """Returns what stands at `index` of a tuple, or None."""
  while True:
    callee = _callee(module, made)
    if made.opcode == 'tuple':
      return module.operand(made, index)
    elif callee is not None:
      made = callee.root
    elif made.opcode == 'while' and _is_constant(module, made, index):
      made = module.operand(made, 0)
    elif made.opcode == 'parameter':
      caller = _only_caller(module, made.computation)
      if caller is None:
        return None
      if caller.opcode == 'while' and not _is_constant(module, caller, index):
        return None
      made = module.operand(caller, int(made.operand_text))
    elif made.opcode in ('copy', 'optimization-barrier'):
      made = module.operand(made, 0)
    else:
      return None


def _is_constant(
    module: parsing.Module, loop: parsing.Instruction, index: int
) -> bool:
  """Returns whether each turn leaves that element of the tuple as it is."""
  body = module.computations[loop.called('body')]
  value = _element(module, body.root, index)
  while value is not None:
    found = _element_of_loop(module, value, loop)
    if found is not None:
      return found == index
    value = producer(module, value)
  return False


def _element_of_loop(
    module: parsing.Module,
    value: parsing.Instruction,
    loop: parsing.Instruction,
) -> int | None:
  """Returns which element of the loop's tuple is read here, or None."""
  if value.opcode != 'get-tuple-element':
    return None
  read = module.operand(value, 0)
  inside = (loop.called('body'), loop.called('condition'))
  if read.opcode != 'parameter' or read.computation not in inside:
    return None
  return int(value.attribute('index'))


def _callee(
    module: parsing.Module, instruction: parsing.Instruction
) -> parsing.Computation | None:
  """Returns the computation that a fusion or a call stands for."""
  roles = {'fusion': 'calls', 'call': 'to_apply'}
  name = instruction.called(roles.get(instruction.opcode, ''))
  return None if name is None else module.computations[name]


def _only_caller(
    module: parsing.Module, computation: str
) -> parsing.Instruction | None:
  """Returns the caller whose operands are the computation's parameters."""
  callers = module.callers[computation]
  if len(callers) != 1 or callers[0][0].opcode not in (
      'call',
      'fusion',
      'while',
  ):
    return None
  return callers[0][0]


def _integer(instruction: parsing.Instruction) -> int | None:
  """Returns the value of an integer constant, or None."""
  if instruction.opcode != 'constant':
    return None
  try:
    return int(instruction.operand_text)
  except ValueError:
    return None
