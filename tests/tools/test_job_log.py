"""The log of a job, children that end with their parent, and what is shown."""

import io
import os
import pathlib
import signal
import subprocess
import sys
import time

from etils import epath
from pax_softmoe.tools import child
from pax_softmoe.tools import job_log
from pax_softmoe.tools import jobs
from pax_softmoe.tools import progress
from pax_softmoe.training import pax_log
import pytest
from rich import console as rich_console


@pytest.fixture(name='bucket')
def _bucket(tmp_path, monkeypatch) -> pathlib.Path:
  """Makes gs:// paths those of a folder, to whose files nothing can be added."""
  root = tmp_path / 'of_buckets'
  real = epath.backend.os_backend

  def local(path):
    text = os.fspath(path)
    return str(root / text.partition('://')[2]) if '://' in text else text

  class Bucket:

    def __getattr__(self, name):
      return lambda path, *a, **k: getattr(real, name)(local(path), *a, **k)

    def open(self, path, mode):
      if 'a' in mode:
        raise NotImplementedError('a bucket cannot add to a file')
      return real.open(local(path), mode)

  monkeypatch.setattr(
      epath.gpath._GPath, '_backend', property(lambda _: Bucket())
  )
  return root


def test_lines_are_held_back_until_the_folder_is_the_jobs(tmp_path):
  path = tmp_path / 'pax.log'
  path.write_text('of the run before\n')
  log = job_log.JobLog(path)
  log.write(b'first\n')
  assert path.read_text() == 'of the run before\n'
  log.begin()
  log.write(b'second\n')
  assert path.read_text() == 'of the run before\nfirst\nsecond\n'
  log.close()
  assert not log.problem
  assert log.last_lines()[0] == 'first'


def test_a_full_disk_cuts_the_log_off_and_nothing_else():
  log = job_log.JobLog('/dev/full')
  log.begin()
  log.write(b'softmoe: ended: why\n')
  log.close()
  assert 'No space left on device' in log.problem
  assert log.last_lines() == ['softmoe: ended: why']


def test_a_log_in_a_bucket_is_copied_there(bucket, monkeypatch, tmp_path):
  monkeypatch.chdir(tmp_path)
  job = epath.Path('gs://bucket/job')
  jobs.make_folder(job)
  kept = bucket / 'bucket/job/pax.log'
  kept.write_text('of the run before\n')
  log = job_log.JobLog(job / 'pax.log')
  monkeypatch.setattr(job_log, '_COPY_SECONDS', 7.0)
  log.local.write_text('first\n')
  seen = []

  def ended(seconds):
    assert seconds == 7
    seen.append(kept.read_text())
    with log.local.open('a') as sink:
      sink.write('more\n')
    return len(seen) == 3

  job_log.follow(log.local, log.path, ended)
  assert seen == [
      'of the run before\n',
      'of the run before\nfirst\nmore\n',
      'of the run before\nfirst\nmore\nmore\n',
  ]
  assert kept.read_text() == seen[2] + 'more\n'
  assert not (tmp_path / 'gs:').exists()
  assert [p.name for p in (bucket / 'bucket/job').iterdir()] == ['pax.log']


def test_a_log_that_cannot_be_copied_says_where_it_is():
  log = job_log.JobLog('gs://bucket/job/pax.log')
  log.path = 'nothing://bucket/job/pax.log'
  log.write(b'first\n')
  log.begin()
  log.close()
  assert 'nothing' in log.problem and str(log.local) in log.problem
  assert log.local.read_text() == 'first\n'


def test_a_log_of_a_job_that_did_not_begin_is_not_copied():
  log = job_log.JobLog('gs://bucket/job/pax.log')
  log.write(b'first\n')
  log.begin(is_ours=False)
  log.close()
  assert str(log.local) in log.problem
  assert log.local.read_text() == 'first\n'


CHILD = """
import sys, time
from pax_softmoe.running import parent
parent.watch()
print('ready', flush=True)
time.sleep(600)
"""
PARENT = """
import os, subprocess, sys, time
from pax_softmoe.running import parent
child = subprocess.Popen(
    [sys.executable, '-c', sys.argv[1]],
    env={**os.environ, **parent.variables()},
)
print(child.pid, flush=True)
time.sleep(600)
"""


def test_a_child_ends_when_its_parent_is_killed():
  with subprocess.Popen(
      [sys.executable, '-c', PARENT, CHILD], stdout=subprocess.PIPE, text=True
  ) as parent:
    lines = {parent.stdout.readline() for _ in range(2)}
    (pid,) = (int(line) for line in lines - {'ready\n'})
    assert pathlib.Path(f'/proc/{pid}').exists()
    parent.kill()
  ends = time.monotonic() + 20
  while pathlib.Path(f'/proc/{pid}').exists() and time.monotonic() < ends:
    time.sleep(0.1)
  assert not pathlib.Path(f'/proc/{pid}').exists()


@pytest.mark.parametrize(
    'program, code, reason',
    [
        ('os.kill(os.getpid(), signal.SIGKILL)', -9, 'if memory ran out'),
        ('os.kill(os.getpid(), signal.SIGSEGV)', -11, 'crashed (SIGSEGV)'),
        ('raise KeyError("x")', 1, "KeyError: 'x'"),
        ('sys.exit(3)', 3, 'ended with code 3'),
    ],
)
def test_every_end_of_a_child_has_a_reason(
    program, code, reason, monkeypatch, tmp_path
):
  """With another program in the place of paxml.main."""
  (tmp_path / 'program.py').write_text(f'import os, signal, sys\n{program}\n')
  monkeypatch.setenv('PYTHONPATH', str(tmp_path), prepend=os.pathsep)
  monkeypatch.setattr(child, '_PROGRAM', 'program')
  shown = []
  log = job_log.JobLog(tmp_path / 'pax.log')
  got, found = child.run_pax([], log, lambda p: shown.append(p.phase))
  assert found == code
  assert reason in got.error
  assert shown[0] == 'loading PaxML and TensorFlow'


def test_signals_are_forwarded_and_counted(monkeypatch, tmp_path):
  (tmp_path / 'program.py').write_text("""
import signal, sys, time
def stop(number, _):
  print('softmoe: ended: stopped and saved', flush=True)
  sys.exit(128 + number)
signal.signal(signal.SIGTERM, stop)
print('softmoe: began: here', flush=True)
time.sleep(100)
""")
  monkeypatch.setenv('PYTHONPATH', str(tmp_path), prepend=os.pathsep)
  monkeypatch.setattr(child, '_PROGRAM', 'program')
  sent = []

  def show(reached):
    if reached.has_begun and not sent:
      sent.append(os.kill(os.getpid(), signal.SIGTERM))

  before = signal.getsignal(signal.SIGTERM)
  log = job_log.JobLog(tmp_path / 'pax.log')
  got, code = child.run_pax([], log, show)
  assert (got.error, code) == ('stopped and saved', 143)
  assert signal.getsignal(signal.SIGTERM) is before
  assert 'stopped and saved' in (tmp_path / 'pax.log').read_text()


def test_without_a_terminal_there_are_lines_but_not_hundreds(monkeypatch):
  now = [0.0]
  monkeypatch.setattr(progress.time, 'monotonic', lambda: now[0])
  said = io.StringIO()
  out = rich_console.Console(file=said, width=200)
  reached = pax_log.Progress()
  with progress.shown(out) as show:
    for _ in range(100):
      now[0] += 0.2
      show(reached)
    reached.phase = 'reading data'
    show(reached)
    reached.phase, reached.total_steps, reached.loss = '', 9000, 1.5
    for step in range(3600 * 5):
      now[0] += 0.2
      reached.step = step + 1
      show(reached)
  lines = said.getvalue().splitlines()
  assert lines[0] == '    0 s  loading PaxML and TensorFlow'
  at = [float(line.split(' s ')[0]) for line in lines]
  assert '   20 s  reading data' in lines
  early = [b - a for a, b in zip(at, at[1:]) if b < 240]
  assert max(early) <= 5
  assert 200 < len(lines) < 500
  assert 'step 18000/9000, loss 1.500' in lines[-1] or 'loss 1.500' in lines[-1]
