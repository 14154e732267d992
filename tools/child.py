"""Child processes: Pax jobs that are watched, and functions that measure."""

from collections.abc import Callable
from collections.abc import Sequence
import importlib
import json
import pathlib
import signal
import subprocess
import sys
import time
from typing import Any

from pax_softmoe.analysis import pax_log
from pax_softmoe.tools import jobs
from pax_softmoe.tools import quiet

_POLL_SECONDS = 0.2


def run_pax(
    flags: Sequence[str],
    log: pathlib.Path,
    show: Callable[[pax_log.Progress], None],
) -> tuple[pax_log.Progress, int]:
  """Runs paxml.main with its output in a file, and shows how far it is.

  Args:
    flags: of paxml.main.
    log: the file; output is added at its end.
    show: called again and again with what the log says by then.

  Returns:
    What the log says in the end, and the exit code.

  Raises:
    KeyboardInterrupt: the user stopped it, and Pax has ended.
  """
  progress = pax_log.Progress()
  with log.open('ab') as sink, log.open() as lines:
    lines.seek(0, 2)
    child = subprocess.Popen(
        [sys.executable, '-m', 'paxml.main', *flags],
        stdout=sink,
        stderr=subprocess.STDOUT,
        env=jobs.child_environment(),
    )
    try:
      running = True
      while running:
        running = child.poll() is None
        _read(lines, progress)
        show(progress)
        time.sleep(_POLL_SECONDS if running else 0)
    except KeyboardInterrupt:
      child.send_signal(signal.SIGINT)
      child.wait()
      raise
    finally:
      if child.poll() is None:
        child.terminate()
        child.wait()
  return progress, child.returncode


def _read(lines: Any, progress: pax_log.Progress) -> None:
  """Takes in all whole lines that the log has got."""
  while True:
    start = lines.tell()
    line = lines.readline()
    if not line.endswith('\n'):
      lines.seek(start)
      return
    progress.read(line)


def call(function: str, **arguments: Any) -> Any:
  """Returns what a function makes of its arguments in a child that computes.

  The memory settings of `jobs.child_environment` count from the start of a
  process, so a command that measures cannot give them to itself.

  Args:
    function: 'MODULE:NAME'.
    **arguments: of the function; like its result, what JSON can hold.

  Raises:
    ValueError: the function raised it or an OSError, with the same message, or
      the child was ended.
  """
  done = subprocess.run(
      [sys.executable, '-m', __name__, function, json.dumps(arguments)],
      stdout=subprocess.PIPE,
      env=jobs.child_environment(),
      text=True,
  )
  if done.returncode or not done.stdout:
    raise ValueError(f'{function} ended with code {done.returncode}')
  answer = json.loads(done.stdout.splitlines()[-1])
  if 'error' in answer:
    raise ValueError(answer['error'])
  return answer['result']


class Turns:
  """A child that does one thing whenever it is told to.

  Use it in a `with` statement, which ends the child.
  """

  def __init__(self, function: str, environment: Any, **arguments: Any):
    """Starts the child.

    Args:
      function: 'MODULE:NAME', which makes what is called at each turn.
      environment: of the child.
      **arguments: of the function, what JSON can hold.
    """
    self._child = subprocess.Popen(
        [sys.executable, '-m', __name__, function, json.dumps(arguments), '+'],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    )

  def __enter__(self) -> 'Turns':
    return self

  def __exit__(self, *unused: Any) -> None:
    self._child.kill()
    self._child.communicate()

  def __call__(self) -> Any:
    """Returns what one turn gives.

    Raises:
      ValueError: the child has ended.
    """
    try:
      self._child.stdin.write('\n')
      self._child.stdin.flush()
    except BrokenPipeError:
      pass
    line = self._child.stdout.readline()
    if not line:
      raise ValueError(f'a child ended with code {self._child.wait()}')
    return json.loads(line)


def _find(function: str) -> Callable[..., Any]:
  """Returns the function 'MODULE:NAME'."""
  module, _, name = function.partition(':')
  with quiet.startup():
    return getattr(importlib.import_module(module), name)


def _take_turns(function: str, arguments: str) -> None:
  """Answers every line of stdin, in the child."""
  turn = _find(function)(**json.loads(arguments))
  for _ in sys.stdin:
    print(json.dumps(turn()), flush=True)


def _answer(function: str, arguments: str) -> dict[str, Any]:
  """Returns what `call` reads, in the child."""
  try:
    return {'result': _find(function)(**json.loads(arguments))}
  except (ValueError, OSError) as error:
    return {'error': str(error)}


if __name__ == '__main__':
  if sys.argv[3:]:
    _take_turns(*sys.argv[1:3])
  else:
    print(json.dumps(_answer(*sys.argv[1:])))
