"""Jobs that are stopped, diverge, accumulate gradients and keep checkpoints."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys

import jax
import pax_jobs
from pax_softmoe import experiments
import pytest

NAME = 'SoftMoEFashionMnist'
SETTINGS = {**pax_jobs.TINY, 'NUM_EXPERTS': 4}
STATE = dict(
    SAVE_INTERVAL_STEPS=5,
    SAVE_MAX_TO_KEEP=1,
    SAVE_KEEP_EVERY_STEPS=10,
    ACCUMULATE_STEPS=2,
    EMA_DECAY=0.9,
    MIXUP=0.5,
)


def flags(**settings):
  return [f'--set={k}={v}' for k, v in {**SETTINGS, **settings}.items()]


def checkpoints(job):
  return sorted(
      int(p.name.removeprefix('checkpoint_'))
      for p in (job / 'checkpoints').iterdir()
  )


@pytest.fixture(name='job', scope='module')
def _job(tmp_path_factory) -> pathlib.Path:
  """A finished job with every setting that changes the train state."""
  folder = tmp_path_factory.mktemp('jobs') / 'job'
  settings = flags(**STATE)
  pax_jobs.softmoe('train', NAME, f'--job_dir={folder}', '--json', *settings)
  return folder


@pytest.mark.slow
def test_last_checkpoint_and_multiples_are_kept(job):
  assert checkpoints(job) == [0, 10, 20, 30]


@pytest.mark.slow
def test_throughput_is_in_the_log_and_in_tensorboard(job):
  summaries = job / 'summaries/train'
  for name in ('images_per_second', 'data_wait', 'skipped_steps'):
    values = pax_jobs.scalars(summaries, f'throughput/{name}')
    # Not of the first ten steps, which compile.
    assert sorted(values) == [20, 30], name
  assert set(
      pax_jobs.scalars(summaries, 'throughput/skipped_steps').values()
  ) == {0}
  shares = pax_jobs.scalars(summaries, 'throughput/data_wait').values()
  assert all(0 < share <= 1 for share in shares)
  assert not pax_jobs.scalars(summaries, 'throughput/mfu')
  log = (job / 'pax.log').read_text()
  rates = pax_jobs.scalars(summaries, 'throughput/images_per_second')
  logged = re.findall(r'throughput: images_per_second=(\S+)', log)
  assert [float(x) for x in logged] == pytest.approx(
      [rates[20], rates[30]], rel=1e-3
  )


@pytest.mark.slow
def test_evaluation_in_training_is_of_the_moving_average(job):
  want = pax_jobs.read_log(job / 'pax.log').evaluation
  got = json.loads(pax_jobs.softmoe('evaluate', job, '--json').stdout)
  assert got['moving_average']
  assert got['loss'] == pytest.approx(want['loss'], rel=1e-5)
  # So is Pax' own, which restores the optimizer's state.
  flag = pax_jobs.as_config(NAME, **{**SETTINGS, **STATE})
  flags = flag, '--mode=eval', f'--job_log_dir={job}'
  log = job / 'eval.log'
  log.write_text(pax_jobs.run('paxml.main', *flags).stderr)
  found = pax_jobs.read_log(log).evaluation
  assert found['loss'] == pytest.approx(want['loss'], rel=1e-5)
  # The average lags behind weights that still improve.
  raw = without_average(job)
  got = json.loads(pax_jobs.softmoe('evaluate', raw, '--json').stdout)
  assert not got['moving_average']
  assert got['loss'] + 1e-3 < want['loss']


def without_average(job):
  """Returns a copy of a job whose last checkpoint has lost the average."""
  copy = job.parent / 'without_average'
  state = pathlib.Path('checkpoints/checkpoint_00000030/state')
  shutil.copytree(job / state, copy / state)
  shutil.copy(job / 'softmoe.json', copy)
  for path in (copy / state).glob('opt_states_*.ema.*'):
    shutil.rmtree(path)
  return copy


@pytest.mark.slow
def test_job_ends_on_sigterm_with_a_checkpoint_and_goes_on(tmp_path):
  job = tmp_path / 'job'
  job.mkdir()
  (job / 'pax.log').touch()
  command = [
      'train',
      NAME,
      f'--job_dir={job}',
      *flags(SAVE_INTERVAL_STEPS=1000),
  ]
  slow = [*command, '--set=NUM_TRAIN_STEPS=100000']
  child = subprocess.Popen(
      [sys.executable, '-m', 'pax_softmoe.tools', *slow],
      env=pax_jobs.environment(),
  )
  try:
    pax_jobs.wait_for_step(child, job / 'pax.log', step=12)
    os.kill(child.pid, signal.SIGTERM)
    assert child.wait(pax_jobs.TIMEOUT_SECONDS) == 128 + signal.SIGTERM
  finally:
    if child.poll() is None:
      child.kill()
      child.wait()
  _, last = checkpoints(job)
  assert last >= 12 and last % 1000
  assert last == pax_jobs.read_log(job / 'pax.log').step
  (job / 'pax.log').unlink()
  pax_jobs.softmoe(*command, f'--set=NUM_TRAIN_STEPS={last + 20}')
  text = (job / 'pax.log').read_text()
  steps = re.findall(r'step_i: (\d+), training loss', text)
  assert [int(s) for s in steps] == list(range(last + 1, last + 21))


def test_job_ends_after_too_many_skipped_steps(tmp_path):
  settings = flags(SKIP_STEP_GRADIENT_NORM=1e-9, MAX_SKIPPED_STEPS=6)
  done = pax_jobs.softmoe(
      'train', NAME, f'--job_dir={tmp_path}', *settings, check=False
  )
  assert done.returncode == 1
  (line,) = [l for l in done.stderr.splitlines() if l.startswith('softmoe')]
  assert 'step 5: the gradients of 6 steps in a row were not finite' in line
  assert 'lower LEARNING_RATE' in line
  log = (tmp_path / 'pax.log').read_text()
  assert 'Step 0 was skipped because of its gradient, 1 in a row' in log
  assert checkpoints(tmp_path) == [0]


@pytest.mark.parametrize('scan', [True, False])
@pytest.mark.parametrize('name', [NAME, f'{NAME}Finetune'])
def test_optimizer_state_is_split_over_the_mesh_like_its_weights(name, scan):
  of = getattr(experiments, name).with_settings(
      **SETTINGS,
      SCAN_LAYERS=scan,
      EMA_DECAY=0.9,
      ACCUMULATE_STEPS=2,
      ICI_MESH_SHAPE=(1, 1, 2, 2),
      SHARDING='expert_model_parallel',
  )()
  task = of.task().Instantiate()
  specs = of.get_input_specs_provider_params().Instantiate()
  weights = task.model.abstract_init_with_metadata(specs.get_input_specs())
  split = task.create_train_state_partition_specs(weights)
  path = jax.tree_util.keystr
  want = {
      path(p): s for p, s in jax.tree_util.tree_leaves_with_path(split.mdl_vars)
  }
  experts = next(s for p, s in want.items() if "['wi']" in p)
  assert tuple(experts) == (None,) * scan + ('expert', None, 'mdl')
  found = 0
  for p, s in jax.tree_util.tree_leaves_with_path(split.opt_states):
    start = path(p).find("['params']")
    if start >= 0:
      found += 1
      assert tuple(s) == tuple(want[path(p)[start:]]), path(p)
  # The average, what is accumulated, and the moments of Adam or the momentum.
  assert found == (4 if name == NAME else 3) * len(want)


def test_settings_reach_the_task():
  config = experiments.SoftMoEFashionMnist.as_config(
      SKIP_STEP_GRADIENT_NORM=5.0, EMA_DECAY=0.99, SAVE_MAX_TO_KEEP=7
  )
  train = config.task.train
  assert train.learner.skip_step_gradient_norm_value == 5
  assert train.learner.optimizer.ema_decay == 0.99
  assert train.eval_use_ema_states and train.decode_use_ema_states
  assert train.save_max_to_keep == 7
  assert train.flop_per_image > 0


def test_checkpoints_to_keep_must_be_some_that_are_saved():
  message = 'checkpoints are saved every 250 steps; set it to a multiple'
  with pytest.raises(ValueError, match=message):
    experiments.SoftMoEFashionMnist.as_config(SAVE_KEEP_EVERY_STEPS=700)
