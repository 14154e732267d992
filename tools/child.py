"""Child processes: Pax jobs that are watched, and functions that measure."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import importlib
import json
import os
import select
import signal
import subprocess
import sys
from typing import Any

from pax_softmoe import files
from pax_softmoe.running import claim
from pax_softmoe.running import parent
from pax_softmoe.tools import job_log
from pax_softmoe.tools import jobs
from pax_softmoe.tools import quiet
from pax_softmoe.training import pax_log

_POLL_SECONDS = 0.2
_CHUNK = 1 << 16
_PROGRAM = 'paxml.main'


def run_pax(
    flags: Sequence[str],
    log: job_log.JobLog,
    show: Callable[[pax_log.Progress], None],
) -> tuple[pax_log.Progress, int]:
  """Runs paxml.main, keeps its output in a log, and shows how far it is.

  SIGINT (Ctrl-C), SIGTERM and SIGHUP are for the child: it saves and ends; the
  second ends it at once.

  Args:
    flags: of paxml.main.
    log: of the job; closed in the end.
    show: called again and again with what the output says by then.

  Returns:
    What the output says in the end, with the reason as `error` if the job did
    not reach its end, and the exit code: above 128 if a signal stopped it.
  """
  progress = pax_log.Progress()
  child = subprocess.Popen(
      [sys.executable, '-m', parent.__name__, _PROGRAM, *flags],
      stdin=subprocess.DEVNULL,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      env={**jobs.child_environment(), **parent.variables(log.local)},
      # Ctrl-C reaches a whole group of processes, and should reach it once.
      start_new_session=True,
  )
  received = []
  try:
    with _forwarding(child, received):
      for data, line in _output(child):
        if data:
          log.write(data)
          progress.read(line)
          if progress.has_begun:
            log.begin()
        else:
          show(progress)
  finally:
    if child.poll() is None:
      child.terminate()
      child.wait()
  code = child.returncode
  if code:
    code, progress.error = _why(progress, code, received, log)
  # Without a word of the job, whose folder it is can be told on a disk only.
  if files.is_remote(log.path) or not _is_held(log):
    log.begin(is_ours=progress.has_begun)
  log.close()
  return progress, code


def _output(child: subprocess.Popen) -> Iterator[tuple[bytes, str]]:
  """Yields what a child writes, by lines; nothing in a pause."""
  pipe = child.stdout
  os.set_blocking(pipe.fileno(), False)
  rest = b''
  running = True
  yield b'', ''
  while running:
    running = child.poll() is None
    select.select([pipe], [], [], _POLL_SECONDS if running else 0)
    while data := pipe.read(_CHUNK):
      *lines, rest = (rest + data).split(b'\n')
      for line in lines:
        yield line + b'\n', line.decode(errors='replace')
    yield b'', ''
  if rest:
    yield rest, rest.decode(errors='replace')


@contextlib.contextmanager
def _forwarding(child: subprocess.Popen, received: list[int]) -> Iterator[None]:
  """In this block, signals go to a child."""

  def forward(number, _):
    received.append(number)
    # Who asks a third time wants no answer.
    child.send_signal(number if len(received) < 3 else signal.SIGKILL)

  before = {}
  for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    # What is started by nohup outlives its terminal.
    if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
      before[number] = signal.signal(number, forward)
  try:
    yield
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)


def _why(
    progress: pax_log.Progress,
    code: int,
    received: list[int],
    log: job_log.JobLog,
) -> tuple[int, str]:
  """Returns exit code and reason of a job that did not reach its end."""
  if received and (code < 0 or not progress.error):
    code = 128 + received[0]
    if progress.error is None:
      name = signal.Signals(received[0]).name
      when = '' if progress.has_begun else ' before it began'
      saved = 'checkpoints that there are stay as they were'
      return code, f'stopped by {name}{when}; {saved}'
  if progress.error:
    return code, progress.error
  if code == -signal.SIGKILL:
    return code, 'paxml.main was killed, by the system if memory ran out'
  if code < 0:
    name = signal.Signals(-code).name
    return code, f'paxml.main crashed ({name}); the log has its stack'
  found = pax_log.last_error(log.last_lines())
  return code, found or f'paxml.main ended with code {code}'


def _is_held(log: job_log.JobLog) -> bool:
  """Returns whether the folder of a log is another job's."""
  try:
    claim.check(log.path.parent)
  except claim.HeldError:
    return True
  return False


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
      env={**jobs.child_environment(), **parent.variables()},
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
        env={**environment, **parent.variables()},
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
  # Ctrl-C ends it without a word: its parent has one.
  signal.signal(signal.SIGINT, signal.SIG_DFL)
  parent.watch()
  if sys.argv[3:]:
    _take_turns(*sys.argv[1:3])
  else:
    print(json.dumps(_answer(*sys.argv[1:])))
