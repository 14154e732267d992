"""What a job does before Pax touches its folder."""

from absl import flags
from pax_softmoe.running import run
import pytest


@pytest.mark.parametrize(
    'words, found',
    [
        (['--fdl=config:a.B.as_config()'], ()),
        (
            ['--fdl=config:x', '--fdl=set:task.train.num_train_steps=3'],
            ('--fdl=set:task.train.num_train_steps=3',),
        ),
        (['-fdl', 'fiddler:f'], ('--fdl=fiddler:f',)),
        (['--nofdl=set:x'], ()),
    ],
)
def test_flags_that_change_more_than_settings(words, found, monkeypatch):
  monkeypatch.setattr(run.sys, 'argv', ['main', *words])
  assert run.fiddle_flags() == found


def test_without_flags_of_pax_there_is_no_folder(monkeypatch):
  monkeypatch.setattr(run.flags, 'FLAGS', flags.FlagValues())
  assert run.job_dir() is None


@pytest.mark.parametrize(
    'mode, want', [('train', '/j'), ('eval', None), ('decode', None)]
)
def test_only_training_has_a_folder_to_take(mode, want, monkeypatch):
  values = flags.FlagValues()
  flags.DEFINE_string('job_log_dir', None, 'x', flag_values=values)
  flags.DEFINE_string('mode', 'train', 'x', flag_values=values)
  values(['main', '--job_log_dir=/j', f'--mode={mode}'])
  monkeypatch.setattr(run.flags, 'FLAGS', values)
  assert run.job_dir() == want


def test_who_only_checks_takes_nothing(tmp_path, monkeypatch):
  monkeypatch.setattr(run, 'job_dir', lambda: str(tmp_path))
  with run.only_checking():
    run.start({'experiment': 'a.B', 'settings': {}}, lambda *_: [])
  assert not list(tmp_path.iterdir())
