"""Points with what is known of them, and the order among them."""

from collections.abc import Sequence
import dataclasses
from typing import Any

from pax_softmoe.tuning import arithmetic
from pax_softmoe.tuning import space

# Points beyond these are not compiled: the first estimate is about as exact.
MEMORY_SLACK = 1.3
TIME_SLACK = 1.3


@dataclasses.dataclass
class Trial:
  """One point, and what is known of it.

  Attributes:
    point: the point.
    estimate: by arithmetic.
    low: what compiling with low effort gave, None if it was not tried.
    full: the same with full effort.
  """

  point: space.Point
  estimate: arithmetic.Estimate
  low: dict[str, Any] | None = None
  full: dict[str, Any] | None = None

  @property
  def effort(self) -> str:
    """The highest effort with a result: 'full', 'low' or 'none'."""
    for effort, result in (('full', self.full), ('low', self.low)):
      if result and result['status'] in ('ok', 'out of memory'):
        return effort
    return 'none'

  @property
  def result(self) -> dict[str, Any] | None:
    """What tells most: the result of that effort, or else a failure."""
    if self.effort == 'low':
      return self.low
    return self.full or self.low

  @property
  def status(self) -> str:
    """That of the result; without one, what arithmetic says of the memory."""
    if self.result:
      return self.result['status']
    return 'ok' if self.estimate.fits() else 'out of memory'

  @property
  def compute_ms(self) -> float:
    """The compiler's at full effort, else that of arithmetic."""
    if self.effort == 'full':
      return self.full.get('compute_ms', self.estimate.compute_ms)
    return self.estimate.compute_ms

  @property
  def exchange_ms(self) -> float:
    """Of the exchanges of the compiled step, else of those expected."""
    result = self.result or {}
    return result.get('exchange_ms', self.estimate.exchange_ms)

  @property
  def exposed_ms(self) -> float:
    """What of them the chip waits for: all, but where full effort tells."""
    found = self.full if self.effort == 'full' else {}
    return found.get('exposed_ms', self.exchange_ms)

  @property
  def step_ms(self) -> float:
    return self.compute_ms + self.exposed_ms

  @property
  def ms_per_image(self) -> float:
    """Of one chip."""
    return self.step_ms / self.point.images_per_chip

  @property
  def kind(self) -> tuple[Any, ...]:
    """What but batch and precision makes points alike."""
    of = self.point
    hiding = of.compiler_flags, of.exchange_parts
    return of.mesh, of.preset, of.remat, *hiding


def candidates(trials: Sequence[Trial]) -> list[Trial]:
  """Returns the points worth compiling, the most promising first."""
  fitting = [t for t in trials if t.estimate.fits(MEMORY_SLACK)]
  if not fitting:
    # Even the smallest is too big by arithmetic: let the compiler say it.
    return sorted(trials, key=lambda t: t.estimate.hbm_gib)[:1]
  by_time = lambda t: t.estimate.step_ms / t.point.images_per_chip
  fitting.sort(key=by_time)
  limit = TIME_SLACK * by_time(fitting[0])
  return _one_of_each_first([t for t in fitting if by_time(t) <= limit])


def finalists(trials: Sequence[Trial]) -> list[Trial]:
  """Returns the points that low effort found to fit, the best first."""
  fitting = [t for t in trials if t.low and t.low['status'] == 'ok']
  fitting.sort(key=lambda t: t.ms_per_image)
  return _one_of_each_first(fitting)


def _one_of_each_first(trials: Sequence[Trial]) -> list[Trial]:
  """Returns the first of each kind, then the second of each, and so on."""
  seen, rounds = {}, {}
  for trial in trials:
    seen[trial.kind] = seen.get(trial.kind, 0) + 1
    rounds.setdefault(seen[trial.kind], []).append(trial)
  return [trial for n in sorted(rounds) for trial in rounds[n]]


def ranked(trials: Sequence[Trial]) -> list[Trial]:
  """Returns all points, the best first.

  Those that fit come before those that do not, and the better known before
  the others.
  """
  efforts = ('full', 'low', 'none')
  statuses = ('ok', 'out of memory', 'failed', 'timed out')

  def key(trial: Trial):
    # What arithmetic alone thinks too big comes last: nobody tried it.
    known = trial.status == 'ok' or trial.result is not None
    return (
        not known,
        statuses.index(trial.status),
        efforts.index(trial.effort),
        trial.ms_per_image,
    )

  return sorted(trials, key=key)
