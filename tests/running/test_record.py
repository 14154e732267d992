"""What a job ran, written down and read back."""

import json

import jax.numpy as jnp
import numpy as np
from pax_softmoe import experiments
from pax_softmoe.running import claim
from pax_softmoe.running import ending
from pax_softmoe.running import record
from pax_softmoe.running import run
from pax_softmoe.tools import jobs
from pax_softmoe.tools import main
from praxis import pax_fiddle
import pytest

NAME = 'SoftMoEFashionMnist'


class Flowers(experiments.SoftMoEFashionMnist):
  """An experiment of another module."""

  NUM_EXPERTS = 8


SETTINGS = dict(
    MOE_LAYERS=(0, 1),
    ICI_MESH_SHAPE=(1, 1, 1, 1),
    FIRST_MOMENT_DTYPE=jnp.bfloat16,
    COMPUTE_DTYPE=np.dtype('float32'),
    SHARDING_OVERRIDES={'dense_weights.d': 'data'},
    NUM_EXPERTS=4,
)
PLAIN = dict(
    MOE_LAYERS=[0, 1],
    ICI_MESH_SHAPE=[1, 1, 1, 1],
    FIRST_MOMENT_DTYPE='bfloat16',
    COMPUTE_DTYPE='float32',
    SHARDING_OVERRIDES={'dense_weights.d': 'data'},
    NUM_EXPERTS=4,
)


def test_settings_survive(tmp_path):
  cls = getattr(experiments, NAME).with_settings(**SETTINGS)
  # Changed in two goes, as commands do.
  made = cls.with_settings(NUM_LAYERS=2)().job_record()
  record.write(tmp_path, made)
  assert record.read(tmp_path) == {
      'experiment': NAME,
      'settings': {**PLAIN, 'NUM_LAYERS': 2},
  }


def test_a_configured_experiment_and_a_class_say_the_same():
  settings = dict(NUM_EXPERTS=4, MOE_LAYERS=(1, 2))
  config = getattr(experiments, NAME).as_config(**settings)
  want = {
      'experiment': NAME,
      'settings': {'NUM_EXPERTS': 4, 'MOE_LAYERS': [1, 2]},
  }
  assert json.loads(config.record) == want
  assert getattr(experiments, NAME)().job_record() == {**want, 'settings': {}}


def test_an_experiment_of_another_module_is_found_again(tmp_path):
  made = Flowers.with_settings(NUM_EXPERTS=2)().job_record()
  assert made['experiment'] == f'{__name__}.Flowers'
  record.write(tmp_path, made)
  name, settings = jobs.recorded(tmp_path)
  assert jobs.find_experiment(name) is Flowers
  assert settings == {'NUM_EXPERTS': 2}


def test_one_that_is_not_there_is_named():
  with pytest.raises(main.UsageError, match='PYTHONPATH'):
    jobs.find_experiment('no_such_module.Flowers')
  with pytest.raises(main.UsageError, match="no experiment 'Tulips'"):
    jobs.find_experiment(f'{__name__}.Tulips')


@pytest.mark.parametrize(
    'text, problem',
    [
        ('', 'empty'),
        ('{"experiment": "SoftMoE', 'no JSON'),
        ('[]', 'list'),
        ('4', 'int'),
        ('null', 'NoneType'),
        ('{}', 'without the name'),
        ('{"experiment": "SoftMoEFashionMnist"}', 'without the settings'),
        ('{"experiment": "X", "settings": []}', 'without the settings'),
    ],
)
def test_a_damaged_record_is_named(text, problem, tmp_path, capsys):
  (tmp_path / record.NAME).write_text(text)
  for command in ('evaluate', tmp_path), ('train', NAME, '--job_dir', tmp_path):
    assert main.main(list(map(str, command))) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()[-1:]
    assert f'{tmp_path / record.NAME} is {problem}' in line
    assert 'remove it' in line and '--experiment' in line
  assert (tmp_path / record.NAME).read_text() == text


def test_another_job_is_not_trained_in_a_folder(tmp_path):
  record.write(tmp_path, {'experiment': 'ViTS16', 'settings': {}})
  with pytest.raises(record.RecordError, match='holds a job of ViTS16'):
    record.check(tmp_path, 'SoftMoES16')
  assert record.check(tmp_path, 'ViTS16')['settings'] == {}
  imported = {'experiment': 'ViTS16', 'settings': {}, 'imported_from': 'x.npz'}
  record.write(tmp_path, imported)
  with pytest.raises(record.RecordError, match='holds imported weights'):
    record.check(tmp_path, 'ViTS16')
  assert record.check(tmp_path / 'new', 'ViTS16') is None


def test_a_full_disk_leaves_the_old_record(tmp_path, monkeypatch):
  record.write(tmp_path, {'experiment': 'ViTS16', 'settings': {}})
  before = (tmp_path / record.NAME).read_bytes()

  def no_space(*_):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr('os.replace', no_space)
  with pytest.raises(OSError):
    record.write(tmp_path, {'experiment': 'ViTS16', 'settings': {'A': 1}})
  assert (tmp_path / record.NAME).read_bytes() == before
  assert [p.name for p in tmp_path.iterdir()] == [record.NAME]


@pytest.fixture(name='training')
def _training(tmp_path, monkeypatch):
  """Makes this process one that paxml.main trains in a folder with."""
  monkeypatch.setattr(run, 'job_dir', lambda: str(tmp_path))
  monkeypatch.setattr(run._State, 'held', None)
  monkeypatch.setattr(ending, 'install', lambda: None)
  monkeypatch.setattr(ending, 'watch_signals', lambda saved: None)
  monkeypatch.setattr(ending._state, 'last', [])
  monkeypatch.setattr(claim, '_SETTLE_SECONDS', 0.0)
  return tmp_path


def test_validation_takes_the_folder_and_as_config_does_not(training):
  config = getattr(experiments, NAME).as_config(NUM_EXPERTS=4)
  assert not list(training.iterdir())
  pax_fiddle.build(config).validate()
  assert [p.name for p in training.iterdir()] == [claim.NAME]
  assert ending._state.last
  # Once is enough.
  getattr(experiments, NAME)().validate()
  run.finish()
  assert not list(training.iterdir())


def files_of(folder):
  return {p: p.read_bytes() for p in folder.rglob('*') if p.is_file()}


def test_a_folder_of_another_job_is_not_touched(training):
  record.write(training, {'experiment': 'ViTS16', 'settings': {}})
  before = files_of(training)
  with pytest.raises(record.RecordError, match='holds a job of ViTS16'):
    getattr(experiments, NAME)().validate()
  assert files_of(training) == before


def test_a_folder_that_is_in_use_is_not_touched(training):
  held = claim.Claim(training, lambda why: None)
  before = set(files_of(training))
  with pytest.raises(claim.HeldError, match='wait for its end or stop it'):
    getattr(experiments, NAME)().validate()
  assert set(files_of(training)) == before
  held.release()


def test_checkpoints_of_another_model_are_refused_by_setting(training):
  made = {'experiment': NAME, 'settings': {'NORMALIZE': True}}
  record.write(training, made)
  new = {'experiment': NAME, 'settings': {'NORMALIZE': False}}

  def changed(cls, old, now):
    assert cls is getattr(experiments, NAME)
    name = 'NORMALIZE'
    return [(name, old[name], now[name])] if old != now else []

  # Without a checkpoint, the job has not begun.
  run.start(new, changed)
  run.finish()
  run._State.held = None
  (training / 'checkpoints/checkpoint_00000010').mkdir(parents=True)
  before = files_of(training)
  with pytest.raises(
      record.RecordError, match='a job with NORMALIZE True, not False; go on'
  ):
    run.start(new, changed)
  assert files_of(training) == before
  run.start(made, changed)
  run.finish()


def test_changes_that_are_no_settings_are_named(monkeypatch, tmp_path, capsys):
  words = (
      'main --fdl=config:a.b(C=1) --fdl=set:task.train.num_train_steps=9'
      ' --fdl fiddler:c.d --job_log_dir=/j'
  )
  monkeypatch.setattr('sys.argv', words.split())
  made = getattr(experiments, NAME)().job_record()
  fdl = ['--fdl=set:task.train.num_train_steps=9', '--fdl=fiddler:c.d']
  assert made['fdl'] == fdl
  record.write(tmp_path, made)
  assert main.main(['evaluate', str(tmp_path)]) == 1
  said = capsys.readouterr().err.splitlines()
  assert f'the job also ran with {" ".join(fdl)}, which is left out' in said[0]
