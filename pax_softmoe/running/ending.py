"""How a process of paxml.main ends: soon, with one line that says why.

Python's own end of a process waits for threads and calls finalizers. One of
them, that of Pax' summary writer, asks JAX for the number of the process; where
JAX_PLATFORMS is not set, JAX then looks for TPUs in a thread that can no longer
start, for ever. So a process that fails or is stopped leaves by itself: it
waits for a checkpoint that is being written, says why it ends, and exits.

SIGTERM, SIGINT (Ctrl-C) and SIGHUP make a job save after the step it is at, and
end with 128 and the number of the signal. The second ends it at once. Signals
are read in a thread of their own: the main thread may be in a compilation.
"""

from collections.abc import Callable
import dataclasses
import os
import signal
import sys
import threading
from typing import Any

from absl import flags
from absl import logging
from pax_softmoe.running import marks

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# What is still to do when a process fails may take so long.
_LAST_SECONDS = 60.0
_FULL = ('No space left on device', 'Disk quota exceeded', 'File too large')
_GOES_ON = 'the same command goes on from it'


@dataclasses.dataclass
class _State:
  """What the end of this process depends on.

  Attributes:
    is_hooked: whether failures are caught.
    last: called before the process leaves, the last one first.
    saved: returns the step of the last whole checkpoint.
    trained: steps done when this process had trained one; None before.
    stopped_by: the signal that came.
  """

  is_hooked: bool = False
  last: list[Callable[[], Any]] = dataclasses.field(default_factory=list)
  saved: Callable[[], int | None] = lambda: None
  trained: int | None = None
  stopped_by: int | None = None


_state = _State()
_leaving = threading.Lock()


def install() -> None:
  """Makes every failure of this process end it; does nothing out of Pax."""
  if 'job_log_dir' in flags.FLAGS and not _state.is_hooked:
    _state.is_hooked = True
    previous = sys.excepthook

    def hook(kind, error, trace):
      previous(kind, error, trace)
      if _folder() is None:
        return
      if isinstance(error, KeyboardInterrupt):
        leave(128 + signal.SIGINT, f'stopped; {_what_is_saved()}')
      else:
        leave(1, reason(error))

    sys.excepthook = hook


def at_last(call: Callable[[], Any]) -> None:
  """Has something called before this process leaves, if it fails or stops."""
  _state.last.append(call)


def leave(code: int, why: str, at_once: bool = False) -> None:
  """Ends this process.

  Args:
    code: its exit code.
    why: said in one line.
    at_once: leave out what was asked for by `at_last`.
  """
  if not _leaving.acquire(blocking=False):
    if at_once:
      _exit(code, why)
    threading.Event().wait()  # Another thread is at it.
  if not at_once:
    # Not here: it may hang, or be stopped by an error.
    thread = threading.Thread(target=_last, daemon=True)
    thread.start()
    thread.join(_LAST_SECONDS)
  _exit(code, why)


def _last() -> None:
  for call in reversed(_state.last):
    try:
      call()
    except BaseException as error:  # Whatever it is, the rest is to be done.
      logging.warning('At the end: %s', reason(error))


def _exit(code: int, why: str) -> None:
  marks.write('ended', why)
  for stream in (sys.stdout, sys.stderr):
    try:
      stream.flush()
    except (OSError, ValueError):
      pass
  os._exit(code)


def first_line(error: BaseException) -> str:
  """Returns what an error says first, '' if it says nothing."""
  lines = _lines(error)
  # Where TensorFlow names the file.
  more = lines[1:2] if lines[1:] and lines[1].startswith('when ') else []
  return ' '.join(lines[:1] + more)


def _lines(error: BaseException) -> list[str]:
  return [line.strip() for line in str(error).splitlines() if line.strip()]


def reason(error: BaseException) -> str:
  """Returns in one line why something failed."""
  lines, text = _lines(error), first_line(error)
  kind = type(error).__name__
  for word in _FULL:
    # TensorStore and TensorFlow have it somewhere in their texts.
    if where := next((line for line in lines if word in line), None):
      if '/' not in where and _folder():
        where = _folder()
      return (
          f'{word.lower()}: {where}; earlier checkpoints are whole, and the'
          ' same command goes on from the last one when there is space'
      )
  if isinstance(error, MemoryError) or 'RESOURCE_EXHAUSTED' in text:
    return f'there is not enough memory: {text or kind}; lower TRAIN_BATCH_SIZE'
  if not text:
    return kind
  if isinstance(error, (ValueError, OSError)):
    return text
  ours = type(error).__module__.startswith('pax_softmoe')
  return text if ours else f'{kind}: {text}'


def _folder() -> str | None:
  """Returns the folder of the job, if there is one."""
  found = flags.FLAGS
  if 'job_log_dir' not in found or not found['job_log_dir'].value:
    return None
  return os.fspath(found['job_log_dir'].value)


def watch_signals(saved: Callable[[], int | None]) -> None:
  """Makes signals stop the training of this process as said above.

  Args:
    saved: returns the step of the last whole checkpoint, None if there is none.
  """
  _state.saved = saved
  reading, writing = os.pipe()
  os.set_blocking(writing, False)
  signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
  for number in SIGNALS:
    # A job under nohup outlives its terminal.
    if (
        number != signal.SIGHUP
        or signal.getsignal(number) is not signal.SIG_IGN
    ):
      signal.signal(number, lambda *_: None)
  threading.Thread(target=_read, args=(reading,), daemon=True).start()


def _read(pipe: int) -> None:
  """Does what signals ask for."""
  while True:
    number = os.read(pipe, 1)[0]
    if number not in SIGNALS:
      continue
    name = signal.Signals(number).name
    if is_stopping() or _leaving.locked():
      leave(128 + number, f'ended at once by {name}; {_what_is_saved()}', True)
    _state.stopped_by = number
    if _state.trained is None:
      leave(
          128 + number,
          f'stopped by {name} before its first step; {_what_is_saved()}',
      )
    logging.info('[PAX STATUS]: %s, ending after this step', name)
    marks.write('phase', 'saving, to end')


def _what_is_saved() -> str:
  try:
    step = _state.saved()
  except Exception as error:  # A bucket may be out of reach.
    return f'which checkpoints are whole is not known ({reason(error)})'
  if step is None:
    return 'nothing was saved'
  return f'its last checkpoint is that of step {step}; {_GOES_ON}'


def trained(step: int) -> None:
  """Says that so many steps are done, the last of them by this process."""
  _state.trained = step


def is_stopping() -> bool:
  """Returns whether a signal asked the job to end."""
  return _state.stopped_by is not None


def leave_if_stopping() -> None:
  """Leaves, after the final save, if a signal asked for it."""
  if (number := _state.stopped_by) is not None:
    step = _state.trained
    name = signal.Signals(number).name
    saved = _what_is_saved()
    if _state.saved() == step:
      saved = f'its checkpoint is saved; {_GOES_ON}'
    leave(128 + number, f'stopped by {name} at step {step}; {saved}')
