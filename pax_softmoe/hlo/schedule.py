"""How long a device computes, and how long it stands still for the network.

The compiler fixes the order in which a TPU runs its instructions. `walk` goes
through it with a clock for the device and one for each link:

  - what computes moves the device's clock;
  - the start of an asynchronous collective lets it begin as soon as all its
    links are done with what was started before, and the device goes on;
  - the wait for its end moves the device's clock to that end;
  - a synchronous collective is a start and a wait.

So collectives on different links run at once, and those that share a link one
after the other, in the order of their starts. It is assumed that sending slows
down no computation, and computing no collective.
"""

from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Hashable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
from typing import NamedTuple

from pax_softmoe.hlo import collectives
from pax_softmoe.hlo import costs
from pax_softmoe.hlo import graph
from pax_softmoe.hlo import module

# Turns of a loop that leave links busy for times that differ by less, in
# seconds, are alike.
_ALIKE = 1e-12


class Exchange(NamedTuple):
  """What one run of a collective takes: seconds, of these links."""

  seconds: float
  links: Collection[Hashable]


@dataclasses.dataclass(frozen=True)
class Wait:
  """How long a device stands still for a collective.

  Attributes:
    collective: which; its `count` is 1.
    seconds: of all its runs. They may be spent on collectives before it on the
      same links.
  """

  collective: collectives.Collective
  seconds: float


@dataclasses.dataclass(frozen=True)
class Timeline:
  """Where the time of one run of a program goes.

  Attributes:
    compute_seconds: that the device computes.
    waits: for each collective that runs, the longest first.
  """

  compute_seconds: float
  waits: Sequence[Wait]

  @property
  def exposed_seconds(self) -> float:
    """That the device stands still."""
    return sum(wait.seconds for wait in self.waits)


def walk(
    program: module.Module,
    clock_hz: float,
    exchange: Callable[[collectives.Collective], Exchange],
    unknown_trips: int | None = None,
) -> Timeline:
  """Goes through one run of a program.

  Every branch of a conditional counts as if it were taken.

  Args:
    program: for TPU. Without a schedule, its instructions run in the order in
      which they stand.
    clock_hz: cycles a second.
    exchange: tells what a collective takes.
    unknown_trips: see `graph.executions`.

  Raises:
    ValueError: see `collectives.collectives`; or there is a wait for something
      of which it cannot be told where it started.
  """
  graph.executions(program, unknown_trips)  # Raises if a loop is not known.
  walker = _Walker(program, clock_hz, exchange, unknown_trips)
  walker.run(program.entry)
  waits = []
  for instruction, waited in walker.waited.items():
    # What one instruction does together is waited for together.
    takes = {c: exchange(c).seconds for c in walker.found[instruction]}
    whole = sum(takes.values())
    waits += [
        Wait(c, waited * seconds / whole if whole else 0.0)
        for c, seconds in takes.items()
    ]
  waits.sort(key=lambda wait: -wait.seconds)
  return Timeline(walker.computed, waits)


class _Walker:
  """The clocks on the way through a program.

  Attributes:
    computed: seconds so far.
    waited: seconds so far, by what exchanges.
    found: what an instruction exchanges.
  """

  def __init__(self, program, clock_hz, exchange, unknown_trips):
    self._clock_hz = clock_hz
    self._exchange = exchange
    self._unknown_trips = unknown_trips
    self._later = collectives.later_stages(program)
    self.computed = 0.0
    self.waited: dict[module.Instruction, float] = {}
    self.found: dict[module.Instruction, list[collectives.Collective]] = {}
    self._now = 0.0
    # When links have done all that was started, and when collectives end.
    self._free: dict[Hashable, float] = {}
    self._ends: dict[module.Instruction, float] = {}

  def run(self, computation: module.Computation) -> None:
    """Runs the instructions of a computation."""
    for instruction in computation.scheduled:
      if instruction.opcode == 'while':
        self._loop(instruction)
      elif instruction.opcode in ('call', 'conditional'):
        for called in instruction.called:
          self.run(called)
      elif instruction.opcode.endswith('-done'):
        self._end(instruction.operands[0])
      else:
        self._run_one(instruction)

  def _run_one(self, instruction: module.Instruction) -> None:
    """Runs an instruction: it starts, computes and waits, in this order."""
    inside = list(_collectives_in(instruction))
    started = [i for i in inside if i not in self._later]
    for i in started:
      self._start(i)
    seconds = (costs.cycles_of(instruction) or 0) / self._clock_hz
    self.computed += seconds
    self._now += seconds
    if not instruction.opcode.endswith('-start'):
      for i in started:
        if not collectives.is_first_stage(i):
          self._wait(i)
    for stage in (self._later[i] for i in inside if i in self._later):
      if stage.is_last:
        self._wait(stage.first)

  def _start(self, instruction: module.Instruction) -> None:
    if instruction not in self.found:
      self.found[instruction] = collectives.of(instruction)
      self.waited[instruction] = 0.0
    for collective in self.found[instruction]:
      takes = self._exchange(collective)
      begins = max(self._now, *(self._free.get(l, 0.0) for l in takes.links), 0)
      ends = begins + takes.seconds
      self._free.update(dict.fromkeys(takes.links, ends))
      self._ends[instruction] = max(ends, self._ends.get(instruction, 0.0))

  def _end(self, started: module.Instruction) -> None:
    """Waits for what an instruction has started."""
    if not started.opcode.endswith('-start'):
      raise ValueError(
          f'HLO module {started.computation.module.name}: there is a wait for'
          f' {started.name}, which is no start but {started.opcode}'
      )
    for i in _collectives_in(started):
      self._wait(i)

  def _wait(self, instruction: module.Instruction) -> None:
    waited = max(0.0, self._ends[instruction] - self._now)
    self.waited[instruction] += waited
    self._now += waited

  def _loop(self, loop: module.Instruction) -> None:
    """Runs a loop: turn by turn, until the turns are alike."""
    body, condition = loop.called
    left = graph.trip_count(loop)
    left = self._unknown_trips if left is None else left
    backlog = None
    while left:
      computed, now, waited = self.computed, self._now, dict(self.waited)
      self.run(condition)
      self.run(body)
      left -= 1
      before, backlog = backlog, self._backlog()
      if before is not None and _are_alike(before, backlog):
        self.computed += left * (self.computed - computed)
        for i, seconds in self.waited.items():
          self.waited[i] += left * (seconds - waited.get(i, 0.0))
        passed = left * (self._now - now)
        self._now += passed
        self._free = {link: end + passed for link, end in self._free.items()}
        left = 0
    self.run(condition)

  def _backlog(self) -> dict[Hashable, float]:
    """Returns for how long links will be busy."""
    return {l: max(0.0, end - self._now) for l, end in self._free.items()}


def _are_alike(
    a: Mapping[Hashable, float], b: Mapping[Hashable, float]
) -> bool:
  links = {*a, *b}
  return all(abs(a.get(l, 0.0) - b.get(l, 0.0)) < _ALIKE for l in links)


def _collectives_in(
    instruction: module.Instruction,
) -> Iterator[module.Instruction]:
  """Yields what exchanges of all that an instruction is made of."""
  if collectives.is_collective(instruction):
    yield instruction
  elif instruction.opcode in ('async-start', 'call', 'fusion'):
    for computation in instruction.called:
      for inner in computation.instructions:
        yield from _collectives_in(inner)
