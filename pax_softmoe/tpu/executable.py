"""Reads what a compiled program needs and does, on one device and in one run.

    compiled = jax.jit(step, …).lower(…).compile()
    report = executable.read(compiled)
    report.peak_bytes / hardware.GIB, report.compute_seconds(chip)

Sizes are the compiler's and exact (but all zero from jaxlib 0.4.26 for the
CPU), times are its estimates. `links` estimates the time that chips spend
exchanging `report.collectives`.
"""

from collections.abc import Sequence
import dataclasses
import re
from typing import Any

from pax_softmoe.hlo import collectives
from pax_softmoe.hlo import costs
from pax_softmoe.hlo import module
from pax_softmoe.hlo import schedule
from pax_softmoe.tpu import hardware
from pax_softmoe.tpu import links


@dataclasses.dataclass(frozen=True)
class Executable:
  """What a compiled program needs and does, on one device and in one run.

  Attributes:
    argument_bytes: its arguments.
    output_bytes: its results, those in place of arguments among them.
    alias_bytes: results in place of donated arguments.
    temp_bytes: what else it holds at its peak.
    code_bytes: its instructions.
    matmul_flops: FLOPs of its matrix products.
    collectives: what it sends.
    cycles: estimated cycles of each instruction; empty but for TPU.
    program: all of it.
  """

  argument_bytes: int
  output_bytes: int
  alias_bytes: int
  temp_bytes: int
  code_bytes: int
  matmul_flops: int
  collectives: Sequence[collectives.Collective]
  cycles: Sequence[costs.Cost]
  program: module.Module

  @property
  def peak_bytes(self) -> int:
    """Memory at the peak: arguments, new results, temporaries and code.

    It may be more than a chip's `usable_hbm_gib`: libtpu 0.0.11.4 only refuses
    what cannot fit by arguments alone or by temporaries alone.
    """
    return (
        self.argument_bytes
        + self.output_bytes
        - self.alias_bytes
        + self.temp_bytes
        + self.code_bytes
    )

  def compute_seconds(self, chip: hardware.Chip) -> float:
    """The compiler's estimate of a run, without what is sent."""
    return sum(cost.total for cost in self.cycles) / chip.clock_hz

  def timeline(
      self,
      tpu_slice: hardware.Slice,
      coordinates: links.Coordinates | None = None,
      unknown_trips: int | None = None,
  ) -> schedule.Timeline:
    """Estimates how much of a run is spent on computing and on waiting.

    Args:
      tpu_slice: that it was compiled for.
      coordinates: see `links.seconds`.
      unknown_trips: see `graph.executions`.
    """

    def exchange(sent: collectives.Collective) -> schedule.Exchange:
      at = sent, tpu_slice, coordinates
      return schedule.Exchange(links.seconds(*at), links.axes(*at))

    clock_hz = tpu_slice.chip.clock_hz
    return schedule.walk(self.program, clock_hz, exchange, unknown_trips)


def read(compiled: Any, unknown_trips: int | None = None) -> Executable:
  """Reads a compiled program.

  Args:
    compiled: what `jax.jit(…).lower(…).compile()` returns.
    unknown_trips: see `graph.executions`.

  Raises:
    ValueError: see `graph.executions`.
  """
  program = module.of(compiled)
  memory = compiled.memory_analysis()
  return Executable(
      argument_bytes=memory.argument_size_in_bytes,
      output_bytes=memory.output_size_in_bytes,
      alias_bytes=memory.alias_size_in_bytes,
      temp_bytes=memory.temp_size_in_bytes,
      code_bytes=memory.generated_code_size_in_bytes,
      matmul_flops=costs.matmul_flops(program, unknown_trips),
      collectives=collectives.collectives(program, unknown_trips),
      cycles=costs.cycles(program, unknown_trips),
      program=program,
  )


@dataclasses.dataclass(frozen=True)
class OutOfMemory:
  """Why the compiler refused a program, in GiB.

  Attributes:
    used: what it counted before it gave up, at most what the program needs.
    usable: what a chip has.
    excess: the difference.
  """

  used: float
  usable: float
  excess: float


# In which words libtpu says it: what is used, what there is, the difference.
_SIZE = r'([\d.]+)([KMGT]?)'
_OUT_OF_MEMORY = tuple(
    re.compile(words.format(_SIZE))
    for words in (
        r'Used {0} of {0} hbm\. Exceeded hbm capacity by {0}',
        r'Requires {0}, has {0} available',
        r'required for HLO temporaries \({0}\) exceeds available HBM \({0}\)',
    )
)
_POWERS = {'': -3, 'K': -2, 'M': -1, 'G': 0, 'T': 1}


def parse_out_of_memory(message: str) -> OutOfMemory | None:
  """Reads the compiler's message that a program is too big.

  Args:
    message: as `RESOURCE_EXHAUSTED: … Used 51.40G of 30.75G hbm. Exceeded hbm
      capacity by 20.65G.`

  Returns:
    Its numbers, or None if the message is another.
  """
  for words in _OUT_OF_MEMORY:
    if found := words.search(message):
      groups = found.groups()
      sizes = [
          float(number) * 1024.0 ** _POWERS[unit]
          for number, unit in zip(groups[::2], groups[1::2])
      ]
      return OutOfMemory(sizes[0], sizes[1], (*sizes, sizes[0] - sizes[1])[2])
  return None
