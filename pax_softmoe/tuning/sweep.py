"""Compiles the most promising points: many with low effort, the best in full.

1. Arithmetic leaves out points that need far more memory than a chip has or
   that are far slower than the best, and orders the others.
2. Low effort tells memory and exchanges of as many as time allows, first the
   fastest of each kind (mesh, preset and remat policy), then the others.
3. Full effort tells the cycles of the finalists, one of each kind. One that
   does not fit or fails makes room for the next. Points that are no more than
   the finalists go there at once.

Cycles of low effort are about three times too high, so points of stages 2 and
3 are never ranked among each other.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from concurrent import futures
import os
import pathlib
import time
from typing import Any

from pax_softmoe.tuning import space
from pax_softmoe.tuning import trials as trials_lib

# What one compilation takes at most, in GiB of memory and in seconds.
_COMPILER_GIB = 4.0
_MAX_SECONDS = 1800.0
# And at least, however little time is left.
_MIN_SECONDS = 180.0
# Of one with full effort to one with low, start of the child included.
_FULL_TO_LOW = 2.5

# (point, effort, seconds it may take) to a result of `compile_step`.
Compile = Callable[[space.Point, str, float], dict[str, Any]]


class Sweep:
  """Tries points within a time.

  Attributes:
    trials: all points.
    planned: how many compilations there will be, as far as is known.
    done: how many of them have ended.
  """

  def __init__(
      self,
      trials: Sequence[trials_lib.Trial],
      compile_point: Compile,
      seconds: float,
      finalists: int = 3,
      workers: int = 1,
      has_cycles: bool = True,
      show: Callable[['Sweep'], None] = lambda sweep: None,
      cached: Callable[[space.Point, str], Any] = lambda point, effort: None,
  ):
    """Plans, but compiles nothing yet.

    Args:
      trials: all points, with their first estimates.
      compile_point: see `Compile`; an exception becomes a failed result.
      seconds: until when no more compilations start, and running ones end soon.
      finalists: how many to compile with full effort.
      workers: how many compile at once.
      has_cycles: whether full effort tells more than low.
      show: called whenever something has changed.
      cached: what a compilation gave before, if it did: such take no time.
    """
    self.trials = trials
    self._compile = compile_point
    self._deadline = time.monotonic() + seconds
    self._finalists = finalists if has_cycles else 0
    self._workers = workers
    self._show = show
    self._cached = cached
    self._low_seconds = []
    self.done = 0
    self.candidates = trials_lib.candidates(trials)
    self._all_are_finalists = len(self.candidates) <= self._finalists
    self.planned = len(self.candidates)
    if not self._all_are_finalists:
      self.planned += self._finalists

  @property
  def seconds_left(self) -> float:
    """At most, by the time there is and what compilations took so far."""
    by_time = max(0.0, self._deadline - time.monotonic())
    if not self._low_seconds:
      return by_time
    low = max(0, self.planned - self.done - self._finalists)
    waves = low / self._workers * self._mean()
    return min(by_time, waves + self._final_seconds())

  def run(self) -> None:
    """Compiles; what came out is in `trials`."""
    if self._all_are_finalists:
      self._run_all(iter(self.candidates), 'full', self._full_may_start)
      self._show(self)
      return
    self._run_all(iter(self.candidates), 'low', self._low_may_start)
    lows = [t for t in self.candidates if t.low]
    self.planned = len(lows) + self._finalists
    wanted = self._finalists
    queue = trials_lib.finalists(lows)
    while wanted and queue:
      batch, queue = queue[:wanted], queue[wanted:]
      self._run_all(iter(batch), 'full', self._full_may_start)
      tried = [t for t in batch if t.full]
      wanted -= sum(t.full['status'] == 'ok' for t in tried)
      if len(tried) < len(batch):
        break
    self.planned = self.done
    self._show(self)

  def _run_all(
      self,
      trials: Iterator[trials_lib.Trial],
      effort: str,
      may_start: Callable[[trials_lib.Trial], bool],
  ) -> None:
    """Compiles those, a few at once, as long as there is time."""
    running = {}
    with futures.ThreadPoolExecutor(self._workers) as pool:
      more = True
      while more or running:
        while more and len(running) < self._workers:
          trial = next(trials, None)
          more = trial is not None and may_start(trial)
          if more:
            running[pool.submit(self._try, trial, effort)] = trial
        ended, _ = futures.wait(
            running, timeout=1, return_when=futures.FIRST_COMPLETED
        )
        for future in ended:
          setattr(running.pop(future), effort, future.result())
          self.done += 1
        self._show(self)

  def _try(self, trial: trials_lib.Trial, effort: str) -> dict[str, Any]:
    """Returns the result of one compilation, whatever happens."""
    left = self._deadline - time.monotonic()
    timeout = min(_MAX_SECONDS, max(_MIN_SECONDS, left))
    is_new = self._cached(trial.point, effort) is None
    started = time.monotonic()
    try:
      result = self._compile(trial.point, effort, timeout)
    except Exception as error:  # pylint: disable=broad-exception-caught
      result = {'status': 'failed', 'error': f'{type(error).__name__}: {error}'}
    if is_new and effort == 'low':
      self._low_seconds.append(time.monotonic() - started)
    return result

  def _mean(self) -> float:
    seconds = self._low_seconds
    return sum(seconds) / len(seconds) if seconds else 0.0

  def _final_seconds(self) -> float:
    """Returns how long the finalists will take."""
    waves = -(-self._finalists // self._workers)
    return waves * _FULL_TO_LOW * self._mean()

  def _low_may_start(self, trial: trials_lib.Trial) -> bool:
    if self._cached(trial.point, 'low') is not None:
      return True
    left = self._deadline - time.monotonic()
    return left > self._mean() + self._final_seconds()

  def _full_may_start(self, trial: trials_lib.Trial) -> bool:
    if self._cached(trial.point, 'full') is not None:
      return True
    return time.monotonic() < self._deadline


def default_workers() -> int:
  """Returns how many compilations CPUs and free memory are enough for."""
  cpus = len(os.sched_getaffinity(0))
  memory = pathlib.Path('/proc/meminfo')
  for line in memory.read_text().splitlines() if memory.exists() else ():
    if line.startswith('MemAvailable:'):
      free_gib = int(line.split()[1]) / 2**20
      return max(1, min(cpus, int(free_gib / _COMPILER_GIB)))
  return 1
