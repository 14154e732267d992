"""The log of a job, JOB_DIR/pax.log, written by who reads the job's output.

It is on the disk of the job, which may be full, or in a bucket, where nothing
can be added to a file: then it is a local file, which another process copies
there every minute and in the end. That one has to load TensorFlow for it.

    python -m pax_softmoe.tools.job_log LOCAL_FILE URL
"""

import collections
from collections.abc import Callable
import os
import pathlib
import select
import subprocess
import sys
import tempfile

from etils import epath
from pax_softmoe import files

_COPY_SECONDS = 60.0
# Larger ones are copied less often: a copy is of the whole.
_LARGE = 10 * 2**20
_LAST_COPY_SECONDS = 120.0


class JobLog:
  """Takes the output of a job, and keeps its last lines in memory.

  Attributes:
    path: of the log.
    local: file that the output is added to; `path` itself if that is local.
    problem: why the log is not whole; '' if it is.
  """

  def __init__(self, path: os.PathLike | str):
    self.path = epath.Path(path)
    self.problem = ''
    self._is_remote = files.is_remote(self.path)
    folder = pathlib.Path(self.path).parent
    if self._is_remote:
      folder = pathlib.Path(tempfile.mkdtemp(prefix='softmoe_'))
    self.local = folder / self.path.name
    # Nothing is written before the folder is known to be the job's.
    self._held: list[bytes] | None = []
    self._sink = None
    self._copier = None
    self._tail = collections.deque(maxlen=200)

  def write(self, data: bytes) -> None:
    """Adds output; raises nothing if the disk is full."""
    self._tail.append(data)
    if self._held is not None:
      self._held.append(data)
      return
    try:
      if self._sink is None:
        self._sink = self.local.open('ab', buffering=0)
      self._sink.write(data)
    except OSError as error:
      self.problem = str(error)

  def begin(self, is_ours: bool = True) -> None:
    """Writes what came so far, and what comes from now on.

    Args:
      is_ours: whether the folder is the job's; otherwise nothing is copied.
    """
    if self._held is None:
      return
    held, self._held = self._held, None
    self.write(b''.join(held))
    if self._is_remote and not is_ours:
      self.problem = f'the job did not begin; it is in {self.local}'
    elif self._is_remote:
      self._copier = subprocess.Popen(
          [sys.executable, '-m', __name__, str(self.local), str(self.path)],
          stdin=subprocess.PIPE,
          stdout=subprocess.DEVNULL,
          stderr=subprocess.PIPE,
          # Ctrl-C is not for it.
          start_new_session=True,
          text=True,
      )

  def close(self) -> None:
    """Writes the rest."""
    if self._sink is not None:
      self._sink.close()
    if self._copier is None:
      return
    try:
      _, said = self._copier.communicate(timeout=_LAST_COPY_SECONDS)
    except subprocess.TimeoutExpired:
      self._copier.kill()
      said = 'it could not be copied in time'
    if self._copier.returncode:
      last = (said.strip().splitlines() or ['no reason given'])[-1]
      self.problem = f'{last}; it is in {self.local}'

  def last_lines(self) -> list[str]:
    """Returns the last lines of the output."""
    return b''.join(self._tail).decode(errors='replace').splitlines()


def follow(
    source: pathlib.Path, target: epath.Path, ended: Callable[[float], bool]
) -> None:
  """Copies a file that grows to the end of another, again and again.

  Args:
    source: the file.
    target: what it has now stays before the copy.
    ended: waits for so many seconds, and returns whether the file is whole.
  """
  before = target.read_bytes() if target.exists() else b''
  is_whole = False
  while not is_whole:
    size = len(before) + source.stat().st_size
    is_whole = ended(_COPY_SECONDS * (1 + size // _LARGE))
    target.write_bytes(before + source.read_bytes())


if __name__ == '__main__':
  follow(
      pathlib.Path(sys.argv[1]),
      epath.Path(sys.argv[2]),
      lambda seconds: bool(select.select([sys.stdin], [], [], seconds)[0]),
  )
