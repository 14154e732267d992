"""Ends a child process when its parent is gone, however that ended.

The parent puts its number into the environment of the child. A child that
trains then stops as on SIGTERM, with a checkpoint; any other ends at once.

    python -m pax_softmoe.running.parent MODULE …

runs a module that does not watch by itself.
"""

import os
import runpy
import signal
import sys
import threading
import time

_VARIABLE = 'PAX_SOFTMOE_PARENT'
_LOG_VARIABLE = 'PAX_SOFTMOE_LOG'
_POLL_SECONDS = 1.0
# As a program, this module is not the one that others import.
_THREAD = 'watches the parent'


def variables(log: os.PathLike | None = None) -> dict[str, str]:
  """Returns what to add to the environment of a child of this process.

  Args:
    log: file for what the child says once nobody listens any more.
  """
  found = {_VARIABLE: str(os.getpid())}
  return {**found, _LOG_VARIABLE: os.fspath(log)} if log else found


def is_watched() -> bool:
  """Returns whether this process ends with its parent."""
  return any(t.name == _THREAD for t in threading.enumerate())


def watch() -> None:
  """Starts to watch, if the parent wants it."""
  # Children of this child have another parent.
  pid = int(os.environ.pop(_VARIABLE, 0))
  log = os.environ.pop(_LOG_VARIABLE, None)
  if pid:
    threading.Thread(
        target=_watch, args=(pid, log), name=_THREAD, daemon=True
    ).start()


def _watch(pid: int, log: str | None) -> None:
  while os.getppid() == pid:
    time.sleep(_POLL_SECONDS)
  if log:
    with open(log, 'ab') as sink:
      os.dup2(sink.fileno(), 1)
      os.dup2(sink.fileno(), 2)
  os.kill(os.getpid(), signal.SIGTERM)


if __name__ == '__main__':
  watch()
  # While libraries load, some drop the exception that Python would raise.
  signal.signal(signal.SIGINT, signal.SIG_DFL)
  sys.argv = sys.argv[1:]
  runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)
