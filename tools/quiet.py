"""Keeps start-up messages of libraries from people who wait for an answer.

TensorFlow reports features of the CPU, and that there is no GPU, before it can
be told not to: no environment variable silences that. Pax prints a line for
every experiment.
"""

from collections.abc import Iterator
import contextlib
import os
import re
import sys
import tempfile

_NOISE = re.compile(
    rb'Registered experiment `|I\d{4} |'
    rb'WARNING: All log messages before absl::InitializeLog\(\)|'
    rb'To enable the following instructions: |'
    rb".* (failed call to cuInit|Could not load dynamic library 'libcu)"
)


@contextlib.contextmanager
def startup() -> Iterator[None]:
  """Drops what libraries say of themselves while a `with` block imports them.

  Everything else that was written to stderr, warnings and errors of the block
  above all, appears when the block ends.
  """
  # Read when TensorFlow is loaded, and for what it says later.
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
  sys.stderr.flush()
  stderr = os.dup(2)
  with tempfile.TemporaryFile() as kept:
    os.dup2(kept.fileno(), 2)
    try:
      yield
      if tensorflow := sys.modules.get('tensorflow'):
        # It looks for GPUs but once, and calls it an error if there is none.
        tensorflow.config.list_physical_devices('GPU')
    finally:
      sys.stderr.flush()
      os.dup2(stderr, 2)
      os.close(stderr)
      kept.seek(0)
      for line in kept:
        if not _NOISE.match(line):
          os.write(2, line)
