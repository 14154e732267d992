"""Which checkpoints a job has, and what is said of damaged ones."""

import checkpoint_files
from pax_softmoe.checkpoints import inspecting
import pytest


def test_steps_are_those_of_finished_saves(tmp_path):
  assert inspecting.steps(tmp_path) == []
  for name in (
      'checkpoint_00000020',
      'checkpoint_00000003',
      'checkpoint_00000040.orbax-checkpoint-tmp-1',
      'other',
  ):
    (tmp_path / 'checkpoints' / name).mkdir(parents=True)
  assert inspecting.steps(tmp_path) == [3, 20]
  assert inspecting.find(tmp_path, None) == 20
  assert inspecting.find(tmp_path, 3) == 3
  with pytest.raises(ValueError, match='no checkpoint of step 4; it has 3, 20'):
    inspecting.find(tmp_path, 4)


@pytest.mark.parametrize(
    'name, unfinished',
    [
        ('checkpoint_00000040.orbax-checkpoint-tmp-17', True),
        ('checkpoint_00000040', False),
        ('my.orbax-checkpoint-tmp-17', False),
    ],
)
def test_a_save_that_did_not_end_is_known_by_its_name(name, unfinished):
  assert inspecting.is_unfinished(name) == unfinished


def test_a_folder_that_is_none_is_said_before_its_files(tmp_path):
  missing = inspecting.folder_of(tmp_path, 1)
  assert inspecting.inspect(missing).problems == ['it is missing']
  missing.mkdir(parents=True)
  assert inspecting.inspect(missing).problems == ['it is empty']


def test_damage_says_from_which_step_to_go_on(tmp_path):
  of = checkpoint_files.experiment()
  checkpoint_files.save_job(tmp_path, of)
  whole = inspecting.folder_of(tmp_path, 7)
  assert inspecting.inspect(whole).problems == []
  newer = inspecting.folder_of(tmp_path, 9)
  newer.mkdir()
  error = inspecting.damage(newer, ['it is empty'])
  assert str(error) == (
      f'{newer}: it is empty; remove the folder {newer} to go on from step 7'
  )
  (whole / 'metadata/metadata').unlink()
  error = inspecting.damage(newer, ['it is empty'])
  assert 'no other checkpoint is whole: start afresh' in str(error)
