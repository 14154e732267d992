"""One writer a job, tried with folders and processes of this machine."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import threading

from pax_softmoe.running import claim
import pytest

# Takes a folder, says so, and keeps it until its stdin ends.
HOLDER = """
import os, sys, threading
from pax_softmoe.running import claim
try:
  held = claim.Claim(sys.argv[1], lambda why: (print(why, flush=True), os._exit(3)))
except claim.HeldError as error:
  print(error, flush=True)
  sys.exit(1)
print('held', flush=True)
sys.stdin.read()
held.release()
"""


@pytest.fixture(name='short', autouse=True)
def _short(monkeypatch):
  monkeypatch.setattr(claim, 'REFRESH_SECONDS', 0.2)
  monkeypatch.setattr(claim, 'SILENT_SECONDS', 1.0)
  monkeypatch.setattr(claim, '_SETTLE_SECONDS', 0.2)


def holder(folder: pathlib.Path) -> subprocess.Popen:
  return subprocess.Popen(
      [sys.executable, '-c', HOLDER, str(folder)],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
  )


def take(folder: pathlib.Path) -> claim.Claim:
  return claim.Claim(folder, lambda why: None)


def test_a_second_writer_is_refused_until_the_first_has_ended(tmp_path):
  job = tmp_path / 'job'
  with holder(job) as first:
    assert first.stdout.readline() == 'held\n'
    before = sorted(tmp_path.rglob('*'))
    assert before == [job, job / claim.NAME]
    with pytest.raises(claim.HeldError) as error:
      take(job)
    assert f'process {first.pid} on {os.uname().nodename}' in str(error.value)
    assert '\n' not in str(error.value)
    found = json.loads((job / claim.NAME).read_text())
    assert found['pid'] == first.pid and found['since'] in str(error.value)
    first.communicate('')
  assert not list(job.iterdir())
  take(job).release()
  assert not list(job.iterdir())


def test_a_killed_writer_is_followed_at_once(tmp_path):
  with holder(tmp_path) as first:
    assert first.stdout.readline() == 'held\n'
    first.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, first.pid, os.WEXITED | os.WNOWAIT)
    # It is still in the system's list: nobody has asked for its code.
    take(tmp_path).release()


def test_a_number_that_another_process_has_now_is_no_writer(tmp_path):
  claimed = take(tmp_path)
  path = tmp_path / claim.NAME
  found = json.loads(path.read_text())
  claimed.release()
  path.write_text(json.dumps({**found, 'started': '1', 'token': 'x'}))
  take(tmp_path).release()


@pytest.mark.parametrize('damage', ['', '{"pid": 1', '[]', '{"machine": 4}'])
def test_a_claim_that_was_not_written_whole_does_not_stay(damage, tmp_path):
  (tmp_path / claim.NAME).write_text(damage)
  take(tmp_path).release()


def test_writers_elsewhere_live_while_they_write(tmp_path):
  path = tmp_path / claim.NAME
  elsewhere = {'machine': 'x', 'host': 'tpu-7', 'pid': 5, 'token': 'x'}
  path.write_text(json.dumps(elsewhere))
  # One that is silent is followed.
  take(tmp_path).release()
  path.write_text(json.dumps(elsewhere))
  beat = lambda: path.write_text(json.dumps({**elsewhere, 'beat': 2}))
  timer = threading.Timer(0.4, beat)
  timer.start()
  with pytest.raises(claim.HeldError, match='process 5 on tpu-7'):
    take(tmp_path)
  timer.join()
  assert json.loads(path.read_text())['host'] == 'tpu-7'
  # A quick look tells only of this machine.
  claim.check(tmp_path)


def test_a_writer_whose_folder_was_taken_is_told(tmp_path):
  told = threading.Event()
  why = []
  claimed = claim.Claim(tmp_path, lambda text: (why.append(text), told.set()))
  path = tmp_path / claim.NAME
  found = json.loads(path.read_text())
  path.write_text(json.dumps({**found, 'token': 'x', 'host': 'tpu-7'}))
  assert told.wait(10)
  assert 'on tpu-7 has been training in' in why[0]
  claimed.release()
  # It is not this one's to remove.
  assert path.exists()


def test_of_writers_that_start_together_one_goes_on(tmp_path):
  started = [holder(tmp_path) for _ in range(6)]
  try:
    said = [child.stdout.readline() for child in started]
    assert said.count('held\n') == 1
    assert sum('has been training in' in line for line in said) == 5
  finally:
    for child in started:
      child.communicate('')


def test_a_claim_is_written_again_and_again(tmp_path):
  claimed = take(tmp_path)
  read = lambda: json.loads((tmp_path / claim.NAME).read_text())['beat']
  first = read()
  threading.Event().wait(1.0)
  assert read() > first
  claimed.release()
