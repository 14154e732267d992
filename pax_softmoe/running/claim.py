"""One writer a job: who trains in a folder says so in a file there.

The file names the machine, the process and when it started, and is written
again every few seconds. It stays behind when its process is killed. Whether
that process still lives, the same machine can tell; another one reads the file
twice, some time apart, which needs no clocks that agree.

A bucket has neither locks nor files that only one of two can make. So whoever
wants a folder writes its claim, waits, and reads whose is there: the later one
wins. A writer that finds another's claim in its folder ends.
"""

from collections.abc import Callable
from collections.abc import Mapping
import datetime
import json
import os
import pathlib
import socket
import subprocess
import threading
import time
from typing import Any
import uuid

from etils import epath
from pax_softmoe import files
from pax_softmoe.running import parent

NAME = 'writer.json'
REFRESH_SECONDS = 5.0
# A writer elsewhere that was silent for so long is no more.
SILENT_SECONDS = 30.0
_SETTLE_SECONDS = 1.0
# How long a process may take to save and end, if the one that watched it died.
_ENDING_SECONDS = 120.0


class HeldError(RuntimeError):
  """Another process trains in the folder."""


class Claim:
  """This process as the one writer of a job, until `release`."""

  def __init__(
      self,
      job_dir: os.PathLike,
      lost: Callable[[str], Any],
      say: Callable[[str], Any] = lambda _: None,
  ):
    """Takes the folder of a job; makes it if it is not there.

    Args:
      job_dir: the folder.
      lost: called, in another thread, with what to say when another process
        has taken the folder.
      say: called with what is waited for.

    Raises:
      HeldError: another process has it; its message says which.
    """
    self._path = epath.Path(job_dir) / NAME
    self._lost = lost
    self._mine = {
        'host': socket.gethostname(),
        'machine': _machine(),
        'pid': os.getpid(),
        'started': _started(os.getpid()),
        'since': datetime.datetime.now().astimezone().isoformat(' ', 'seconds'),
        'parent': {'pid': os.getppid(), 'started': _started(os.getppid())},
        'watched': parent.is_watched(),
        'token': uuid.uuid4().hex,
    }
    self._beat = 0
    self._ended = threading.Event()
    check(job_dir, say, wait=True)
    self._path.parent.mkdir(parents=True, exist_ok=True)
    self._write()
    time.sleep(_SETTLE_SECONDS)
    if self._other():
      raise HeldError(_held(self._path, _read(self._path)))
    self._thread = threading.Thread(target=self._refresh, daemon=True)
    self._thread.start()

  def release(self) -> None:
    """Gives the folder free."""
    self._ended.set()
    self._thread.join()
    if not self._other():
      self._path.unlink(missing_ok=True)

  def _write(self) -> None:
    self._beat += 1
    text = json.dumps({**self._mine, 'beat': self._beat}, indent=2)
    files.write_whole(self._path, text + '\n')

  def _other(self) -> bool:
    """Returns whether the folder is another's."""
    return _read(self._path).get('token') not in (None, self._mine['token'])

  def _refresh(self) -> None:
    while not self._ended.wait(REFRESH_SECONDS):
      try:
        if self._other():
          self._lost(_held(self._path, _read(self._path)))
          return
        self._write()
      except Exception:
        pass  # A full disk, a network that is down: the next time may do.


def check(
    job_dir: os.PathLike,
    say: Callable[[str], Any] = lambda _: None,
    wait: bool = False,
) -> None:
  """Raises HeldError if another process trains in a folder; changes nothing.

  Args:
    job_dir: the folder.
    say: called with what is waited for.
    wait: whether to find out about writers on other machines, which takes
      SILENT_SECONDS; otherwise those are not seen.
  """
  path = epath.Path(job_dir) / NAME
  text = files.read(path)
  if text is None:
    return
  found = _parse(text)
  if found.get('machine') == _machine():
    ends = time.monotonic() + _ENDING_SECONDS
    while _lives(found):
      # One whose parent was killed saves and ends.
      ending = found.get('watched') and not _lives(found.get('parent') or {})
      if not ending or time.monotonic() > ends:
        raise HeldError(_held(path, found))
      say(f'waiting for process {found["pid"]}, which saves and ends')
      time.sleep(0.5)
  elif wait:
    say(f'waiting {SILENT_SECONDS:.0f} s to see if {path} is still in use')
    time.sleep(SILENT_SECONDS)
    later = files.read(path)
    if later not in (None, text):
      raise HeldError(_held(path, _parse(later)))


def _held(path: epath.Path, found: Mapping[str, Any]) -> str:
  return (
      f'process {found.get("pid")} on {found.get("host")} has been training in'
      f' {path.parent} since {found.get("since")}; wait for its end or stop it,'
      ' or choose another folder'
  )


def _read(path: epath.Path) -> dict[str, Any]:
  return _parse(files.read(path) or '')


def _parse(text: str) -> dict[str, Any]:
  """Returns what a claim says; nothing if it was not written whole."""
  try:
    found = json.loads(text)
  except ValueError:
    found = None
  return found if isinstance(found, dict) else {}


def _machine() -> str:
  """Returns what only processes have that see each other's numbers."""
  parts = [socket.gethostname()]
  boot = pathlib.Path('/proc/sys/kernel/random/boot_id')
  if boot.exists():
    # Containers number their processes themselves.
    parts += [boot.read_text().strip(), os.readlink('/proc/self/ns/pid')]
  return ' '.join(parts)


def _lives(process: Mapping[str, Any]) -> bool:
  """Returns whether it is still that process which has its number."""
  started = _started(process.get('pid'))
  return started is not None and started == process.get('started')


def _started(pid: Any) -> str | None:
  """Returns when a process of this machine started; None if there is none."""
  if not isinstance(pid, int):
    return None
  if os.path.exists('/proc/self/stat'):
    try:
      stat = pathlib.Path(f'/proc/{pid}/stat').read_text()
    except OSError:
      return None
    # The name before may have spaces and brackets.
    state, *rest = stat.rpartition(')')[2].split()
    return None if state in 'ZX' else rest[18]
  done = subprocess.run(
      ['ps', '-o', 'stat=', '-o', 'lstart=', '-p', str(pid)],
      capture_output=True,
      text=True,
  )
  state, _, started = done.stdout.strip().partition(' ')
  return None if state.startswith('Z') else started.strip() or None
