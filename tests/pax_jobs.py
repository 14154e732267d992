"""Starts Pax jobs in child processes, as a user would, and reads their results."""

from collections.abc import Sequence
import os
import pathlib
import signal
import subprocess
import sys
import time

from pax_softmoe.training import pax_log
from tensorboard.backend.event_processing import event_accumulator
from tensorboard.util import tensor_util

# Small enough to train 30 steps in seconds, with every part in it.
TINY = dict(
    PATCH_SIZE=7,
    MODEL_DIMS=16,
    HIDDEN_DIMS=32,
    NUM_HEADS=2,
    NUM_LAYERS=2,
    TRAIN_BATCH_SIZE=32,
    NUM_TRAIN_STEPS=30,
    WARMUP_STEPS=5,
    COOLDOWN_STEPS=10,
    SUMMARY_INTERVAL_STEPS=1,
    EVAL_INTERVAL_STEPS=15,
    SAVE_INTERVAL_STEPS=10,
)
# A shared machine may be many times slower than a quiet one.
TIMEOUT_SECONDS = 600


def environment() -> dict[str, str]:
  """Returns the environment of a child on one CPU device, as users have it.

  Where JAX_PLATFORMS is set, JAX looks for no TPU, and what that does to the
  end of a process cannot be seen.
  """
  found = {**os.environ, 'TPU_SKIP_MDS_QUERY': '1'}
  found.pop('JAX_PLATFORMS', None)
  return found


def as_config(name: str, **settings: object) -> str:
  """Returns the Fiddle flag of an experiment with settings changed."""
  text = ','.join(f'{k}={v!r}' for k, v in settings.items())
  return f'--fdl=config:pax_softmoe.experiments.{name}.as_config({text})'


def run(
    *command: str,
    check: bool = True,
    cwd: pathlib.Path | None = None,
    python: os.PathLike | str = sys.executable,
) -> subprocess.CompletedProcess:
  """Runs `python -m COMMAND` to its end; fails with its output if it does."""
  done = subprocess.run(
      [python, '-m', *command],
      env=environment(),
      cwd=cwd,
      capture_output=True,
      text=True,
      timeout=TIMEOUT_SECONDS,
  )
  if check and done.returncode:
    raise AssertionError(done.stdout[-3000:] + done.stderr[-3000:])
  return done


def softmoe(*arguments: object, **kwargs) -> subprocess.CompletedProcess:
  """Runs the `softmoe` command."""
  return run('pax_softmoe.tools', *map(str, arguments), **kwargs)


def run_until(flags: Sequence[str], step: int, log: pathlib.Path) -> None:
  """Runs paxml.main until a step is reported, then kills it without warning."""
  with log.open('wb') as sink:
    child = subprocess.Popen(
        [sys.executable, '-m', 'paxml.main', *flags],
        env=environment(),
        stdout=sink,
        stderr=subprocess.STDOUT,
    )
    try:
      wait_for_step(child, log, step)
    finally:
      child.send_signal(signal.SIGKILL)
      child.wait()


def wait_for_step(
    child: subprocess.Popen, log: pathlib.Path, step: int
) -> None:
  """Returns when a running job reports a step; fails if it ends before."""
  deadline = time.time() + TIMEOUT_SECONDS
  while time.time() < deadline:
    progress = read_log(log)
    if progress.step >= step:
      return
    if child.poll() is not None:
      raise AssertionError(f'ended early: {progress.error}')
    time.sleep(0.05)
  raise AssertionError(f'step {step} not reached: {progress}')


def wait_for_text(
    child: subprocess.Popen, log: pathlib.Path, text: str
) -> None:
  """Returns when the log of a running job has a text; fails if it ends."""
  deadline = time.time() + TIMEOUT_SECONDS
  while text not in log.read_text(errors='replace'):
    if child.poll() is not None or time.time() > deadline:
      raise AssertionError(
          f'{text} is not in the log: {log.read_text()[-3000:]}'
      )
    time.sleep(0.05)


def read_log(log: pathlib.Path) -> pax_log.Progress:
  """Returns what a log says of its job."""
  progress = pax_log.Progress()
  for line in log.read_text(errors='replace').splitlines():
    progress.read(line)
  return progress


def scalars(folder: pathlib.Path, name: str) -> dict[int, float]:
  """Returns the values of a TensorBoard summary by step, later runs first."""
  values = {}
  for path in sorted(folder.glob('events*')):
    events = event_accumulator.EventAccumulator(
        str(path), size_guidance={event_accumulator.TENSORS: 0}
    )
    events.Reload()
    if name in events.Tags()['tensors']:
      for event in events.Tensors(name):
        value = tensor_util.make_ndarray(event.tensor_proto)
        values[event.step] = float(value)
  return values


def tags(folder: pathlib.Path) -> set[str]:
  """Returns the names of all TensorBoard summaries in a folder."""
  names = set()
  for path in folder.glob('events*'):
    events = event_accumulator.EventAccumulator(str(path))
    events.Reload()
    names.update(events.Tags()['tensors'])
  return names
