"""The log of a job, here or in a bucket."""

import os
import pathlib

from etils import epath
from pax_softmoe.tools import job_log
from pax_softmoe.tools import jobs
import pytest


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
