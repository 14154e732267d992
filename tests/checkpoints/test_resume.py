"""A job under paxml.main does not go on from what is damaged or further."""

import pathlib
import types

import checkpoint_files
import pax_jobs
from pax_softmoe.checkpoints import checksums
from pax_softmoe.checkpoints import inspecting
import pytest

EXPERTS = 'mdl_vars.params.vit.blocks_1.sub.feed_forward.moe.experts.wo'


def flags(job, **settings):
  settings = {**pax_jobs.TINY, 'NUM_EXPERTS': 4, **settings}
  settings |= {'WARMUP_STEPS': 1, 'COOLDOWN_STEPS': 1}
  return [
      pax_jobs.as_config(checkpoint_files.NAME, **settings),
      f'--job_log_dir={job}',
  ]


def written(job):
  """Returns when each file of the checkpoints was written."""
  return {p: p.stat().st_mtime_ns for p in (job / 'checkpoints').rglob('*')}


@pytest.mark.slow
def test_a_part_of_the_experts_that_is_missing_ends_a_job(tmp_path):
  job = tmp_path / 'job'
  settings = dict(NUM_TRAIN_STEPS=4, SAVE_INTERVAL_STEPS=2)
  pax_jobs.run('paxml.main', *flags(job, **settings))
  folders = [
      pathlib.Path(inspecting.folder_of(job, step)) for step in (0, 2, 4)
  ]
  for folder in folders:
    entries = checksums.read(folder)
    assert entries is not None
    assert 'train_input/process_0-of-1' in entries
    assert not inspecting.inspect(folder).problems
    assert not inspecting.inspect(folder).extra
  part = folders[2] / f'state/{EXPERTS}/0.0.0.0'
  part.unlink()
  before = written(job)
  settings['NUM_TRAIN_STEPS'] = 8
  done = pax_jobs.run('paxml.main', *flags(job, **settings), check=False)
  assert done.returncode
  assert (
      f'{part} is missing; remove the folder {folders[2]} to go on from step 2'
  ) in done.stdout + done.stderr
  assert written(job) == before


def test_a_job_past_its_end_says_so(tmp_path):
  experiment = checkpoint_files.experiment(NUM_TRAIN_STEPS=30)
  task = experiment.task().Instantiate()
  checkpointer = types.SimpleNamespace(
      step_to_restore=40, checkpoint_manager=None
  )
  with pytest.raises(ValueError) as raised:
    experiment.executor().setup(task, tmp_path, checkpointer)
  assert str(raised.value) == (
      f'the job in {tmp_path} is at step 40, past the 30 that it should end at;'
      ' set NUM_TRAIN_STEPS to 40 or more, or choose another folder with'
      ' --job_dir'
  )


@pytest.mark.parametrize('verify', [True, False])
def test_the_setting_reaches_the_task(verify):
  experiment = checkpoint_files.experiment(VERIFY_CHECKPOINTS=verify)
  task = experiment.task().Instantiate()
  assert task.train.verify_checkpoints is verify
