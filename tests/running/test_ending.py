"""How a process ends, with a stand-in for Pax whose own end hangs for ever."""

import os
import signal
import subprocess
import sys
import time

from pax_softmoe.running import ending
import pytest

# Loads neither JAX nor Pax. What `Hangs` stands for is the generator of Pax'
# summary writer, which is finalized when the interpreter is.
PROGRAM = """
import signal, sys, threading, time, zipfile
from absl import app, flags
flags.DEFINE_string('job_log_dir', '/job', '')
from pax_softmoe.running import ending

class Hangs:
  # Python 3.13 takes away what a module has before it finalizes this.
  def __del__(self, sleep=time.sleep):
    while True:
      sleep(1)

def main(argv):
  ending.install()
  ending._LAST_SECONDS = 1.0
  globals()['kept'] = Hangs()
  {body}

app.run(main)
"""


def run(body: str) -> tuple[int, list[str]]:
  """Returns the exit code of a program, and the last line that it says."""
  started = time.monotonic()
  done = subprocess.run(
      [sys.executable, '-c', PROGRAM.replace('{body}', body)],
      capture_output=True,
      text=True,
      timeout=60,
  )
  assert time.monotonic() - started < 30
  return done.returncode, done.stderr.splitlines()


def test_the_stand_in_hangs_by_itself():
  program = PROGRAM.replace('ending.install()', '')
  body = program.replace('{body}', "raise ValueError('x')")
  with pytest.raises(subprocess.TimeoutExpired):
    subprocess.run([sys.executable, '-c', body], capture_output=True, timeout=8)


@pytest.mark.parametrize(
    'error, line',
    [
        ("ValueError('set X to 1')", 'set X to 1'),
        ("KeyError('x')", "KeyError: 'x'"),
        ("zipfile.BadZipFile('no zip file')", 'BadZipFile: no zip file'),
        ("RuntimeError('first\\nsecond')", 'RuntimeError: first'),
        ('AssertionError', 'AssertionError'),
        ('KeyboardInterrupt', 'stopped; nothing was saved'),
    ],
)
def test_a_failure_ends_at_once_with_its_reason(error, line):
  code, lines = run(f'raise {error}')
  assert lines[-1] == f'softmoe: ended: {line}'
  assert code == (130 if error == 'KeyboardInterrupt' else 1)
  assert any('Traceback' in line for line in lines)


def test_what_is_to_be_done_is_done_last_first_and_for_a_bounded_time():
  code, lines = run("""
  ending.at_last(lambda: print('released', file=sys.stderr))
  ending.at_last(lambda: 1 / 0)
  ending.at_last(lambda: print('saved', file=sys.stderr))
  raise ValueError('bad')""")
  said = [l for l in lines if l in ('released', 'saved')]
  assert said == ['saved', 'released']
  assert any('division by zero' in line for line in lines)
  assert (code, lines[-1]) == (1, 'softmoe: ended: bad')
  code, lines = run("""
  ending.at_last(lambda: time.sleep(100))
  raise ValueError('bad')""")
  assert (code, lines[-1]) == (1, 'softmoe: ended: bad')


# A test may itself run where SIGHUP is ignored, as `nohup` has it.
STOPPED = """
  signal.signal(signal.SIGHUP, signal.{hangup})
  ending.watch_signals(lambda: {saved})
  {trained}
  print('ready', flush=True)
  while not ending.is_stopping():
    time.sleep(.01)
  {then}
  ending.leave_if_stopping()
"""


def stopped(
    *signals: int, saved=None, trained='', then='', hangup='SIG_DFL'
) -> tuple[int, str]:
  """Returns exit code and last line of a program that gets signals."""
  body = STOPPED.replace('{saved}', str(saved)).replace('{trained}', trained)
  body = body.replace('{then}', then).replace('{hangup}', hangup)
  child = subprocess.Popen(
      [sys.executable, '-c', PROGRAM.replace('{body}', body)],
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
  )
  try:
    assert child.stdout.readline() == 'ready\n'
    for number in signals:
      os.kill(child.pid, number)
      time.sleep(0.3)
    _, errors = child.communicate(timeout=30)
  finally:
    child.kill()
  return child.returncode, errors.splitlines()[-1].removeprefix(
      'softmoe: ended: '
  )


@pytest.mark.parametrize(
    'number, name, code',
    [
        (signal.SIGINT, 'SIGINT', 130),
        (signal.SIGTERM, 'SIGTERM', 143),
        (signal.SIGHUP, 'SIGHUP', 129),
    ],
)
def test_a_signal_says_what_was_saved(number, name, code):
  assert stopped(number) == (
      code,
      f'stopped by {name} before its first step; nothing was saved',
  )
  assert stopped(number, saved=12, trained='ending.trained(12)') == (
      code,
      (
          f'stopped by {name} at step 12; its checkpoint is saved; the same'
          ' command goes on from it'
      ),
  )
  # Without a checkpoint of that step, as with --noenable_checkpoint_saving.
  assert stopped(number, saved=10, trained='ending.trained(12)') == (
      code,
      (
          f'stopped by {name} at step 12; its last checkpoint is that of step'
          ' 10; the same command goes on from it'
      ),
  )


def test_a_hangup_that_is_ignored_stays_so():
  # As `nohup` starts a job that is to outlive its terminal.
  assert stopped(signal.SIGHUP, signal.SIGTERM, hangup='SIG_IGN') == (
      143,
      'stopped by SIGTERM before its first step; nothing was saved',
  )


def test_the_second_signal_ends_a_save_that_takes_long():
  got = stopped(
      signal.SIGINT,
      signal.SIGINT,
      saved=10,
      trained='ending.trained(12)',
      then='time.sleep(100)',
  )
  assert got == (
      130,
      (
          'ended at once by SIGINT; its last checkpoint is that of step 10; the'
          ' same command goes on from it'
      ),
  )


def test_the_file_in_the_second_line_is_named():
  error = RuntimeError('no such host\n\t when reading gs://b/x\n and more')
  assert ending.first_line(error) == 'no such host when reading gs://b/x'
  assert ending.first_line(RuntimeError('bad\nmore')) == 'bad'


def test_a_full_disk_is_named_wherever_the_text_has_it():
  want = 'earlier checkpoints are whole, and the same command goes on'
  for error in (
      OSError(28, 'No space left on device', '/job/x'),
      ValueError('Error writing "/job/x"\n in: [No space left on device]'),
      RuntimeError('UNKNOWN: /job/events; No space left on device'),
  ):
    text = ending.reason(error)
    assert text.startswith('no space left on device: ')
    assert '/job/' in text or error.args[0].startswith('Error')
    assert want in text


def test_a_full_disk_without_a_path_is_that_of_the_job():
  code, lines = run("raise OSError(28, 'No space left on device')")
  assert code == 1
  assert lines[-1].startswith(
      'softmoe: ended: no space left on device: /job; earlier checkpoints'
  )
