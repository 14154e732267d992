"""One job over several processes, then over others, through paxml.main."""

from collections.abc import Iterator
import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import zipfile

from pax_jobs import TIMEOUT_SECONDS
from pax_jobs import TINY
from pax_jobs import as_config
from pax_jobs import environment
from pax_jobs import read_log
from pax_jobs import softmoe
from pax_jobs import wait_for_step
import pytest

NAME = 'SoftMoEFashionMnist'
SETTINGS = {
    **TINY,
    'NUM_EXPERTS': 8,
    'SAVE_INTERVAL_STEPS': 8,
    'EVAL_INTERVAL_STEPS': 8,
}
DEVICES = 8


def free_port() -> int:
  with socket.socket() as s:
    s.bind(('127.0.0.1', 0))
    return s.getsockname()[1]


@contextlib.contextmanager
def running(
    job_dir: pathlib.Path,
    log_dir: pathlib.Path,
    *more: str,
    steps: int,
    mesh: tuple[int, ...],
    processes: int,
) -> Iterator[list[tuple[subprocess.Popen, pathlib.Path]]]:
  """Runs a job up to `steps` on eight devices; gives each process and its log.

  What still runs in the end is killed.
  """
  flags = [
      as_config(NAME, **SETTINGS, ICI_MESH_SHAPE=mesh),
      f'--fdl=set:task.train.num_train_steps={steps}',
      f'--job_log_dir={job_dir}',
      '--eval_on_test',
      *more,
  ]
  if processes > 1:
    flags += [
        '--multiprocess_gpu',
        f'--server_addr=127.0.0.1:{free_port()}',
        f'--num_hosts={processes}',
        '--jax_cpu_collectives_implementation=gloo',
    ]
  else:
    # The place in the data of two processes is none of one.
    flags += ['--fdl=set:task.train.enable_input_checkpointing=False']
  count = DEVICES // processes
  xla_flags = f'--xla_force_host_platform_device_count={count}'
  started = []
  try:
    for i in range(processes):
      host = [f'--host_idx={i}'] if processes > 1 else []
      log = log_dir / f'to_{steps}_process_{i}.log'
      with log.open('wb') as sink:
        child = subprocess.Popen(
            [sys.executable, '-m', 'paxml.main', *flags, *host],
            env=environment() | {'XLA_FLAGS': xla_flags},
            stdout=sink,
            stderr=subprocess.STDOUT,
        )
      started.append((child, log))
    yield started
  finally:
    for child, _ in started:
      if child.poll() is None:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()


def train(*args, **kwargs) -> None:
  """Runs a job, see `running`, to its end."""
  with running(*args, **kwargs) as started:
    for child, log in started:
      code = child.wait(2 * TIMEOUT_SECONDS)
      assert code == 0, log.read_text(errors='replace')[-3000:]


@pytest.fixture(name='job', scope='module')
def _job(tmp_path_factory) -> pathlib.Path:
  """A job in three parts, its logs beside it."""
  folder = tmp_path_factory.mktemp('processes')
  job = folder / 'job'
  train(job, folder, steps=8, mesh=(1, 8, 1, 1), processes=2)
  train(job, folder, steps=16, mesh=(1, 2, 4, 1), processes=2)
  train(job, folder, steps=24, mesh=(1, 2, 4, 1), processes=1)
  return job


PARTS = ((8, 2), (16, 2), (24, 1))


@pytest.mark.slow
@pytest.mark.parametrize('steps, processes', PARTS)
def test_each_part_goes_on_where_the_last_one_ended(job, steps, processes):
  assert (job / f'checkpoints/checkpoint_{steps:08d}').exists()
  for i in range(processes):
    log = job.parent / f'to_{steps}_process_{i}.log'
    first = steps - 7
    text = log.read_text(errors='replace')
    assert read_log(log).step == steps
    assert f'step_i: {first}, training loss' in text
    assert f'step_i: {first - 1}, training loss' not in text


@pytest.mark.slow
@pytest.mark.parametrize('steps, processes', PARTS)
def test_evaluation_counts_every_image_once(job, steps, processes):
  """Against the same checkpoint on one device of one process."""
  flags = [f'--set={k}={v}' for k, v in SETTINGS.items()]
  flags += [f'--experiment={NAME}', f'--step={steps}', '--json']
  want = json.loads(softmoe('evaluate', job, *flags).stdout)
  assert want['examples'] == 2000
  for i in range(processes):
    got = read_log(job.parent / f'to_{steps}_process_{i}.log')
    assert got.eval_step == steps
    assert got.eval_examples == 2000
    assert got.evaluation['loss'] == pytest.approx(want['loss'], rel=1e-5)
    assert got.evaluation['accuracy'] == pytest.approx(want['accuracy'])


@pytest.mark.slow
def test_each_process_reads_its_own_share_and_saves_its_place(job):
  """What shares of the data hold is tested in data/test_image_input.py."""
  for step in (8, 16):
    for i in range(2):
      folder = job / f'checkpoints/checkpoint_{step:08d}/train_input'
      with zipfile.ZipFile(folder / f'process_{i}-of-2') as state:
        settings = json.loads(state.read('settings.json'))
      assert settings['num_infeed_hosts'] == '2'
      assert settings['infeed_host_index'] == str(i)
      assert settings['batch_size'] == str(TINY['TRAIN_BATCH_SIZE'] // 2)


# Steps go on while a checkpoint is written, and SIGTERM to any process ends all.
PREEMPTIBLE = (
    '--jax_fully_async_checkpoint',
    '--exit_after_ondemand_checkpoint',
)


@pytest.mark.slow
def test_sigterm_to_one_process_ends_all_at_the_same_checkpoint(tmp_path):
  job, mesh = tmp_path / 'job', (1, 2, 4, 1)
  with running(
      job, tmp_path, *PREEMPTIBLE, steps=100_000, mesh=mesh, processes=2
  ) as started:
    (first, log), (second, other_log) = started
    wait_for_step(first, log, step=9)
    os.kill(second.pid, signal.SIGTERM)
    for child, _ in started:
      # Pax' code for it.
      assert child.wait(TIMEOUT_SECONDS) == 1
  last = read_log(log).step
  assert last == read_log(other_log).step
  assert (job / f'checkpoints/checkpoint_{last:08d}').exists()
  train(job, tmp_path, *PREEMPTIBLE, steps=last + 3, mesh=mesh, processes=2)
  text = (tmp_path / f'to_{last + 3}_process_0.log').read_text(errors='replace')
  assert f'step_i: {last + 1}, training loss' in text
  assert f'step_i: {last}, training loss' not in text
