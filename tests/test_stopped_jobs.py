"""`softmoe train` that is killed, started twice, and stopped, as users do it."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys

import pax_jobs
from pax_softmoe.running import claim
from pax_softmoe.running import record

NAME = 'SoftMoEFashionMnist'
SETTINGS = {
    **pax_jobs.TINY,
    'NUM_EXPERTS': 4,
    'NUM_TRAIN_STEPS': 1_000_000,
    'SAVE_INTERVAL_STEPS': 100_000,
    'EVAL_INTERVAL_STEPS': 100_000,
}


def start(job: pathlib.Path) -> subprocess.Popen:
  """Starts a job that goes on until it is stopped."""
  flags = [f'--set={k}={v}' for k, v in SETTINGS.items()]
  command = ['train', NAME, f'--job_dir={job}', *flags]
  return subprocess.Popen(
      [sys.executable, '-m', 'pax_softmoe.tools', *command],
      env=pax_jobs.environment(),
      stderr=subprocess.PIPE,
      text=True,
  )


def kill(child: subprocess.Popen) -> None:
  if child.poll() is None:
    child.kill()
    child.communicate()


def last_checkpoint(job: pathlib.Path) -> int:
  names = [p.name for p in (job / 'checkpoints').iterdir()]
  assert all(re.fullmatch(r'checkpoint_\d{8}', name) for name in names), names
  return max(int(name[-8:]) for name in names)


def test_one_job_is_killed_and_goes_on_and_is_stopped(tmp_path):
  job = tmp_path / 'job'
  job.mkdir()
  log = job / 'pax.log'
  log.touch()
  first = start(job)
  second = None
  try:
    pax_jobs.wait_for_step(first, log, step=12)
    writer = json.loads((job / claim.NAME).read_text())
    made = record.read(job)
    assert made == {'experiment': NAME, 'settings': SETTINGS}
    # Another start ends at once and says who trains there.
    refused = start(job)
    _, errors = refused.communicate(timeout=60)
    assert refused.returncode == 1
    line = errors.splitlines()[-1]
    assert line.startswith(f'softmoe: process {writer["pid"]} on ')
    assert 'wait for its end or stop it' in line
    assert json.loads((job / claim.NAME).read_text())['token'] == (
        writer['token']
    )
    # The front end dies; its job saves and ends; the same command goes on.
    first.send_signal(signal.SIGKILL)
    first.communicate()
    second = start(job)
    pax_jobs.wait_for_text(second, log, 'phase: restoring')
    begun = log.read_text()
    stopped = int(re.search(r'stopped by SIGTERM at step (\d+);', begun)[1])
    assert stopped >= 12
    assert f'phase: restoring step {stopped}' in begun
    assert not os.path.exists(f'/proc/{writer["pid"]}')
    pax_jobs.wait_for_step(second, log, step=stopped + 5)
    second.send_signal(signal.SIGINT)
    _, errors = second.communicate(timeout=pax_jobs.TIMEOUT_SECONDS)
  finally:
    kill(first)
    if second:
      kill(second)
  assert second.returncode == 130
  line = next(l for l in errors.splitlines() if l.startswith('softmoe train:'))
  stopped = int(re.search(r'stopped by SIGINT at step (\d+);', line)[1])
  assert 'its checkpoint is saved; the same command goes on from it' in line
  assert last_checkpoint(job) == stopped
  assert record.read(job) == made
  assert not (job / claim.NAME).exists()
  # It said all the time what it did.
  seconds = [int(s) for s in re.findall(r'^ *(\d+) s  ', errors, re.MULTILINE)]
  assert seconds[0] == 0
  assert max(b - a for a, b in zip(seconds, seconds[1:])) <= 10
  assert 'loading PaxML and TensorFlow' in errors
