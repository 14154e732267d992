"""Children of commands: their ends, and signals to them."""

import os
import signal

from pax_softmoe.tools import child
from pax_softmoe.tools import job_log
import pytest


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
