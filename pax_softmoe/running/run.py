"""What a training job of paxml.main does before Pax touches its folder.

Pax asks an experiment to `validate` first; then it writes into the folder, and
removes what unfinished saves left there.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import os
import re
import sys
from typing import Any

from absl import flags
import jax
from pax_softmoe.checkpoints import reading
from pax_softmoe.running import claim
from pax_softmoe.running import ending
from pax_softmoe.running import marks
from pax_softmoe.running import record

# See `start`.
Changed = Callable[
    [type, Mapping[str, Any], Mapping[str, Any]], list[tuple[str, Any, Any]]
]


class _State:
  """Of this process."""

  only_checks = False
  held: claim.Claim | None = None


@contextlib.contextmanager
def only_checking() -> Iterator[None]:
  """In this block, experiments are validated without the aim to train."""
  before, _State.only_checks = _State.only_checks, True
  try:
    yield
  finally:
    _State.only_checks = before


def job_dir() -> str | None:
  """Returns the folder that this process trains in; None if it does not."""
  found = flags.FLAGS
  if 'job_log_dir' not in found or not found.is_parsed():
    return None
  if not found['job_log_dir'].value or found['mode'].value != 'train':
    return None
  return os.fspath(found['job_log_dir'].value)


def fiddle_flags() -> tuple[str, ...]:
  """Returns the flags that changed more than `as_config` did."""
  # The flag itself forgets its words.
  words = ' '.join(sys.argv[1:])
  found = re.findall(r'(?<!\S)--?fdl[= ]((?:set|fiddler):\S+)', words)
  return tuple(f'--fdl={word}' for word in found)


def start(made: Mapping[str, Any], changed: Changed) -> None:
  """Takes the folder of the job, if this process is to train.

  Args:
    made: record of the experiment.
    changed: tells which settings make another model: of the class of the
      experiment and the settings of two jobs, returns for each the name and
      both values.

  Raises:
    RecordError: the folder holds another job, or checkpoints of another model.
    HeldError: another process trains there.
  """
  folder = job_dir()
  if folder is None or _State.only_checks or _State.held:
    return
  ending.install()
  old = record.check(folder, made['experiment'])
  if old and reading.steps(folder):
    cls = record.find(made['experiment'])
    if found := changed(cls, old['settings'], made['settings']):
      text = ', '.join(
          f'{name} {was!r}, not {is_!r}' for name, was, is_ in found
      )
      raise record.RecordError(
          f'the checkpoints in {folder} are of a job with {text}; go on with'
          ' its settings, or choose another folder'
      )
  if jax.process_count() == 1:
    # Several have to agree on the step, which they do by Pax' own flags.
    ending.watch_signals(lambda: max(reading.steps(folder), default=None))
  if jax.process_index() == 0:
    say = lambda text: marks.write('phase', text)
    _State.held = claim.Claim(
        folder, lambda why: ending.leave(1, why, at_once=True), say
    )
    ending.at_last(_State.held.release)
    marks.write('began', folder)


def finish() -> None:
  """Gives the folder free."""
  if _State.held:
    _State.held.release()
