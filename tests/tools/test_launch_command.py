"""What `softmoe launch` writes and refuses."""

import json

from pax_softmoe.experiments import stored
from pax_softmoe.tools import main
import pytest

ARGUMENTS = ['launch', 'SoftMoES16', '--zone=z', '--slice=2xv4-128']


@pytest.fixture(name='tuned')
def _tuned(tmp_path, monkeypatch):
  monkeypatch.setattr(stored, 'FOLDER', tmp_path / 'tuned')
  entry = {'settings': {}, 'environment': {'LIBTPU_INIT_ARGS': '--a=1'}}
  stored.write('SoftMoES16', '2xv4-128', entry)


@pytest.mark.usefixtures('tuned')
def test_command_writes_the_tuned_job(tmp_path, capsys):
  folder = tmp_path / 'launch'
  flags = ['--data=gs://b/images', f'--output={folder}', '--set=SEED=3']
  assert main.main([*ARGUMENTS, *flags, '--json']) == 0
  written = json.loads(capsys.readouterr().out)
  assert written['job_dir'] == 'gs://b/jobs/softmoes16-2xv4-128'
  assert written['flags'] == [
      (
          '--fdl=config:pax_softmoe.experiments.SoftMoES16.as_config('
          "SLICE='2xv4-128', DATA_DIR='gs://b/images', SEED=3)"
      ),
      '--jax_fully_async_checkpoint',
      '--exit_after_ondemand_checkpoint',
  ]
  text = (folder / 'create.sh').read_text()
  assert (
      '\nACCELERATOR=v4-128\nRUNTIME=tpu-ubuntu2204-base\nSLICES=2\nZONE=z\n'
      in text
  )
  assert 'export LIBTPU_INIT_ARGS=--a=1\n' in (folder / 'host.sh').read_text()


@pytest.mark.usefixtures('tuned')
@pytest.mark.parametrize(
    'arguments, code, message',
    [
        (['--data=/tmp/images'], 2, 'as gs://BUCKET/FOLDER'),
        (['--data=gs://b/x', '--job_dir=/tmp/job'], 2, 'as gs://BUCKET/FOLDER'),
        (['--data=gs://b/x', '--name=Big'], 2, '--name Big: use at most 39'),
        (['--data=gs://b/x', '--slice=v4-8'], 1, 'no settings are stored'),
    ],
)
def test_bad_usage_is_one_line(arguments, code, message, tmp_path, capsys):
  output = f'--output={tmp_path / "launch"}'
  assert main.main([*ARGUMENTS, *arguments, output]) == code
  assert message in capsys.readouterr().err.strip().splitlines()[-1]
