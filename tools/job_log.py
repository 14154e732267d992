"""The log of a job, JOB_DIR/pax.log, written by who reads the job's output.

It is on the disk of the job, which may be full, or in a bucket, where nothing
can be added to a file: then the log is a local file that is copied there every
minute and in the end.
"""

import collections
import os
import pathlib
import tempfile
import time

from etils import epath
from pax_softmoe.running import files

_COPY_SECONDS = 60.0
_LARGE = 10 * 2**20


class JobLog:
  """Takes the output of a job, and keeps its last lines in memory.

  Attributes:
    path: of the log.
    local: file that the output is added to; `path` itself if that is local.
    problem: why the log is not whole, None if it is.
  """

  def __init__(self, path: os.PathLike | str):
    self.path = epath.Path(path)
    self.problem: str | None = None
    self._remote = files.is_remote(self.path)
    if self._remote:
      folder = tempfile.mkdtemp(prefix='softmoe_')
      self.local = pathlib.Path(folder) / self.path.name
    else:
      self.local = pathlib.Path(self.path)
    # Nothing is written before the folder is known to be the job's.
    self._held: list[bytes] | None = []
    self._sink = None
    self._copied = time.monotonic()
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
      size = self._sink.tell()
      # Large ones less often: a copy is of the whole.
      pause = _COPY_SECONDS * (1 + size // _LARGE)
      if self._remote and time.monotonic() > self._copied + pause:
        self._copy()
    except OSError as error:
      self.problem = str(error)

  def begin(self) -> None:
    """Writes what came so far, and what comes from now on."""
    if self._held is None:
      return
    held, self._held = b''.join(self._held), None
    if self._remote and self.path.exists():
      held = self.path.read_bytes() + held
    self.write(held)

  def close(self) -> None:
    """Writes the rest."""
    if self._sink is not None:
      self._sink.close()
      if self._remote:
        self._copy()

  def last_lines(self) -> list[str]:
    """Returns the last lines of the output."""
    return b''.join(self._tail).decode(errors='replace').splitlines()

  def _copy(self) -> None:
    try:
      self.path.write_bytes(self.local.read_bytes())
    except Exception as error:  # Those of buckets are of many kinds.
      self.problem = str(error)
    self._copied = time.monotonic()
