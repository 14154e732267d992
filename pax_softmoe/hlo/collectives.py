"""What a compiled module sends between chips.

Five kinds, named by what moves rather than by the instruction that moves it:

  all-to-all          each device sends a different part to each other one
  all-gather          each device ends up with what all had together
  reduce-scatter      each device ends up with its part of a sum
  all-reduce          each device ends up with the whole sum
  collective-permute  each device sends all it has to one other

XLA for TPU writes some gathers as the sum of arrays that are zero but for the
part a device holds, and some scatters of sums as an all-reduce fused with the
slice that follows: here they are an all-gather and a reduce-scatter, and
`opcode` tells how they are written.

Sizes are those of the module at hand. The CPU compiler of jaxlib 0.5.3 sends
bfloat16 as float32; `source_dtype` then still is bf16. A sum that each device
then slices without a fusion is an all-reduce here: all of it is sent.
"""

from collections.abc import Iterable
from collections.abc import Mapping
import dataclasses
from typing import NamedTuple

from pax_softmoe.hlo import device_groups
from pax_softmoe.hlo import graph
from pax_softmoe.hlo import module

KINDS = (
    'all-to-all',
    'all-gather',
    'all-reduce',
    'reduce-scatter',
    'collective-permute',
)

# Custom calls in the first and in the last stage of a collective.
_FIRST, _LAST = 'AsyncCollectiveStart', 'AsyncCollectiveDone'

# How far to look for a device number behind an index.
_MAX_STEPS = 100


@dataclasses.dataclass(frozen=True)
class Collective:
  """One collective instruction; several, where it is run in a loop.

  Attributes:
    kind: one of `KINDS`.
    opcode: how the program writes it, one of `KINDS`.
    name: the name of the instruction.
    count: how often one run of the module runs it.
    bytes: size, for one run of it and on one device, of the whole it works on:
      the arrays before an all-to-all, all-reduce, reduce-scatter or permute,
      the arrays after an all-gather. Several operands are added up.
    dtype: dtype of what is sent; of different ones, joined by '+'.
    source_dtype: the same before conversions that the compiler put in.
    groups: device numbers that exchange with one another, as the program counts
      its devices; of a collective-permute, pairs (from, to).
    op_name: where it comes from, as 'jit(step)/jit(main)/ffn/dot_general'.
    source: the source line, as 'path/file.py:36'.
  """

  kind: str
  opcode: str
  name: str
  count: int
  bytes: int
  dtype: str
  source_dtype: str
  groups: device_groups.Groups
  op_name: str = ''
  source: str = ''

  @property
  def group_size(self) -> int:
    """How many devices take part in one exchange."""
    return max((len(group) for group in self.groups), default=1)

  @property
  def total_bytes(self) -> int:
    """`bytes` of all its runs."""
    return self.bytes * self.count

  @property
  def passes(self) -> int:
    """How often the bytes go round: an all-reduce scatters, then gathers."""
    twice = self.opcode == 'all-reduce' and self.kind != 'reduce-scatter'
    return 2 if twice else 1


def collectives(
    program: module.Module, unknown_trips: int | None = None
) -> list[Collective]:
  """Returns all collectives of a module, in the order in which they stand.

  An asynchronous pair of `-start` and `-done` is one. So is an all-to-all of
  several operands. An all-reduce that both gathers and sums, since the compiler
  combined two, is returned as one of each.

  Args:
    program: the module.
    unknown_trips: see `graph.executions`.

  Returns:
    Those that run at least once.

  Raises:
    ValueError: see `graph.executions`; or groups of devices are written in a
      form that is not known.
  """
  runs = graph.executions(program, unknown_trips)
  later = later_stages(program)
  return [
      collective
      for instruction in program.instructions
      if is_collective(instruction) and instruction not in later
      for collective in of(instruction, runs[instruction.computation])
      if collective.count
  ]


class LaterStage(NamedTuple):
  """Goes on with a collective: which began where, and whether it ends here."""

  first: module.Instruction
  is_last: bool


def later_stages(
    program: module.Module,
) -> Mapping[module.Instruction, LaterStage]:
  """Returns the instructions that go on with what another began.

  XLA for TPU cuts some collectives into stages, each of which looks like the
  whole: one in a fusion that begins it, one in each fusion that computes
  meanwhile, and one in a fusion that waits for its end.
  """
  found = [i for i in program.instructions if is_collective(i)]
  first = {i.proto.channel_id: i for i in found if is_first_stage(i)}
  return {
      i: LaterStage(first[i.proto.channel_id], _LAST in _targets(i))
      for i in found
      if i.proto.channel_id in first and not is_first_stage(i)
  }


def is_first_stage(instruction: module.Instruction) -> bool:
  """Returns whether a collective is only begun here, see `later_stages`."""
  return _FIRST in _targets(instruction)


def _targets(instruction: module.Instruction) -> set[str]:
  """Returns what the custom calls are named that read a value."""
  users = instruction.computation.users(instruction)
  return {i.proto.custom_call_target for i in users}


def is_collective(instruction: module.Instruction) -> bool:
  """Returns whether an instruction exchanges; the wait for it does not."""
  return instruction.opcode.removesuffix('-start') in KINDS


def of(instruction: module.Instruction, count: int = 1) -> list[Collective]:
  """Returns what one instruction exchanges: one collective of each kind.

  Args:
    instruction: for which `is_collective`.
    count: how often it runs.

  Raises:
    ValueError: see `collectives`.
  """
  opcode = instruction.opcode.removesuffix('-start')
  groups = device_groups.of(instruction)
  by_kind = {}
  for operand in instruction.operands:
    kind = _kind(instruction, operand, opcode)
    by_kind.setdefault(kind, []).append(operand)
  found = []
  for kind, operands in by_kind.items():
    size = sum(shape.bytes for o in operands for shape in o.shapes)
    if opcode == 'all-gather':
      size *= max(len(group) for group in groups)
    found.append(
        Collective(
            kind=kind,
            opcode=opcode,
            name=instruction.name,
            count=count,
            bytes=size,
            dtype=_joined(s.dtype for o in operands for s in o.shapes),
            source_dtype=_joined(
                _source_dtype(instruction, o) for o in operands
            ),
            groups=groups,
            op_name=instruction.op_name,
            source=instruction.source,
        )
    )
  return found


def summary(found: Iterable[Collective]) -> Mapping[str, Mapping[str, float]]:
  """Returns count and gigabytes (1e9) by kind, of those kinds there are."""
  totals = {}
  for kind in KINDS:
    of_kind = [c for c in found if c.kind == kind]
    if of_kind:
      totals[kind] = {
          'count': sum(c.count for c in of_kind),
          'gb': sum(c.total_bytes for c in of_kind) / 1e9,
      }
  return totals


def _kind(
    instruction: module.Instruction, operand: module.Instruction, opcode: str
) -> str:
  """Returns what a collective does with one operand."""
  if opcode != 'all-reduce':
    return opcode
  if _is_own_part_of_zeros(operand):
    return 'all-gather'
  if _is_fused_with_slice(instruction):
    return 'reduce-scatter'
  return opcode


def _is_own_part_of_zeros(operand: module.Instruction) -> bool:
  """Returns whether an array is zero but where the device's number says."""
  made = graph.origin(operand)
  if made.opcode == 'dynamic-update-slice':
    base, _, *where = made.operands
    bases = [base]
  elif made.opcode == 'select':
    where, *bases = made.operands
    where = [where]
  else:
    return False
  return any(map(_is_zero, bases)) and any(map(_depends_on_device, where))


def _is_zero(value: module.Instruction) -> bool:
  """Returns whether a value is made of zeros."""
  value = graph.origin(value)
  if value.opcode == 'broadcast':
    value = graph.origin(value.operands[0])
  return value.is_zero


def _depends_on_device(value: module.Instruction) -> bool:
  """Returns whether a device's number goes into a value, as into an index."""
  waiting, seen = [value], set()
  while waiting and len(seen) < _MAX_STEPS:
    value = graph.origin(waiting.pop())
    if value.opcode in ('partition-id', 'replica-id'):
      return True
    if value not in seen:
      seen.add(value)
      waiting.extend(value.operands)
  return False


def _is_fused_with_slice(instruction: module.Instruction) -> bool:
  """Returns whether it is in a fusion that uses nothing but a slice of it."""
  computation = instruction.computation
  if all(caller.opcode != 'fusion' for caller in computation.callers):
    return False
  users = computation.users(instruction)
  while users:
    user = users.pop()
    if user.opcode in ('bitcast', 'convert', 'copy', 'reshape'):
      users.extend(computation.users(user))
    elif user.opcode != 'dynamic-slice':
      return False
  return not instruction.is_root


def _source_dtype(
    instruction: module.Instruction, operand: module.Instruction
) -> str:
  """Returns the narrowest dtype a value had before the compiler widened it."""
  narrowest, value = operand.shapes[0], operand
  if narrowest.dtype == 'f32' and any(
      'promoted' in scalar.name for scalar in instruction.called
  ):
    return 'bf16'
  while value is not None and value.shapes:
    if value.shapes[0].bits < narrowest.bits:
      narrowest = value.shapes[0]
    # What the program itself converts is sent as it asked.
    if value.opcode == 'convert' and 'convert_element_type' in value.op_name:
      break
    if value.opcode in ('broadcast', 'slice'):
      value = value.operands[0]
    else:
      value = graph.producer(value)
  return narrowest.dtype


def _joined(names: Iterable[str]) -> str:
  return '+'.join(sorted(set(names)))
