"""Lines by which a job tells its front end, and readers of its log, how it is.

softmoe: phase: restoring step 400
softmoe: ended: stopped by SIGTERM at step 412; its checkpoint is saved; …
"""

import re
import sys

_LINE = re.compile(r'softmoe: (phase|began|ended): (.*)')


def write(kind: str, text: str) -> None:
  """Writes a line to stderr.

  Args:
    kind: 'phase', what the job does now; 'began', once the folder is the
      job's; or 'ended', why it ends before its last step.
    text: one line.
  """
  try:
    # In one piece: other threads write too.
    sys.stderr.write(f'softmoe: {kind}: {" ".join(text.split())}\n')
    sys.stderr.flush()
  except OSError:
    pass  # Nobody listens any more, or the disk is full.


def read(line: str) -> tuple[str, str] | None:
  """Returns kind and text of a line; None if it is another."""
  match = _LINE.match(line)
  return (match[1], match[2]) if match else None
