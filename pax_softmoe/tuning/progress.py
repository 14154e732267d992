"""Shows on stderr how far a sweep is."""

from typing import Any

from pax_softmoe.tuning import sweep
from rich import console as rich_console
from rich import progress as rich_progress


class Bar:
  """A progress bar with the time that is left, as a context."""

  def __init__(self):
    self._bar = rich_progress.Progress(
        rich_progress.TextColumn('{task.description}'),
        rich_progress.BarColumn(bar_width=24),
        rich_progress.TextColumn('{task.fields[left]}'),
        console=rich_console.Console(stderr=True),
    )
    self._task = self._bar.add_task('arithmetic', total=None, left='')

  def __enter__(self) -> 'Bar':
    self._bar.start()
    return self

  def __exit__(self, *unused: Any) -> None:
    self._bar.stop()

  def show(self, state: sweep.Sweep) -> None:
    """Shows that state."""
    left = round(state.seconds_left)
    trials = state.trials
    fit = sum(t.effort != 'none' and t.status == 'ok' for t in trials)
    self._bar.update(
        self._task,
        description=f'compiled {state.done} of {state.planned}, {fit} fit',
        completed=state.done,
        total=state.planned,
        left=f'at most {left // 60}:{left % 60:02d} left',
    )
