"""Shows people how far a training job is, at a terminal or in a file."""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import time

from pax_softmoe.training import pax_log
from rich import console as rich_console
from rich import progress as rich_progress

Show = Callable[[pax_log.Progress], None]
# Without a terminal, something is said so often at first; later a 60th of the
# time that has passed, so that a day has some hundred lines.
_LEAST_SECONDS = 4.0
_MOST_SECONDS = 300.0


@contextlib.contextmanager
def shown(out: rich_console.Console) -> Iterator[Show]:
  """Gives what shows a job's progress, while a `with` block runs.

  Args:
    out: a bar with the time that has passed is drawn there if it is a
      terminal; otherwise there is a line at each change, and every few seconds.
  """
  if not out.is_terminal:
    yield _Lines(out)
    return
  columns = (
      rich_progress.TextColumn('{task.description}'),
      rich_progress.BarColumn(bar_width=24),
      rich_progress.TextColumn('{task.fields[loss]}'),
      rich_progress.TextColumn('{task.fields[rate]}'),
      rich_progress.TimeElapsedColumn(),
  )
  with rich_progress.Progress(*columns, console=out) as bar:
    task = bar.add_task(pax_log.LOADING, total=None, loss='', rate='')

    def show(progress: pax_log.Progress) -> None:
      bar.update(
          task,
          description=', '.join(
              filter(None, (_where(progress), progress.phase))
          ),
          completed=progress.step,
          total=progress.total_steps if progress.step else None,
          loss=_loss(progress),
          rate=_rate(progress),
      )

    yield show


class _Lines:
  """Prints lines."""

  def __init__(self, out: rich_console.Console):
    self._out = out
    self._started = time.monotonic()
    self._said = -_MOST_SECONDS
    self._phase = None

  def __call__(self, progress: pax_log.Progress) -> None:
    passed = time.monotonic() - self._started
    pause = min(_MOST_SECONDS, max(_LEAST_SECONDS, passed / 60))
    # Short phases of a job that trains come with every checkpoint.
    is_new = progress.phase != self._phase and not progress.step
    if passed < self._said + pause and not is_new:
      return
    self._said, self._phase = passed, progress.phase
    parts = _where(progress), progress.phase, _loss(progress), _rate(progress)
    text = ', '.join(filter(None, parts))
    self._out.print(
        f'{passed:5.0f} s  {text}',
        markup=False,
        soft_wrap=True,
        highlight=False,
    )


def _where(progress: pax_log.Progress) -> str:
  if not progress.step:
    return ''
  text = f'step {progress.step}/{progress.total_steps}'
  if 'accuracy' in progress.evaluation:
    text += f'  test {progress.evaluation["accuracy"]:.1%}'
  return text


def _loss(progress: pax_log.Progress) -> str:
  if not progress.step:
    return ''
  text = f'loss {progress.loss:.3f}'
  if progress.accuracy is not None:
    text += f'  accuracy {progress.accuracy:.1%}'
  return text


def _rate(progress: pax_log.Progress) -> str:
  rate, total = progress.steps_per_second, progress.total_steps
  if not (progress.step and rate and progress.batch_size and total):
    return ''
  left = int((total - progress.step) / rate)
  return (
      f'{rate * progress.batch_size:.0f} images/s '
      f' {left // 60}:{left % 60:02d} left'
  )
