"""Whole jobs through paxml.main and the `softmoe` command."""

import json
import pathlib

from pax_jobs import TINY
from pax_jobs import as_config
from pax_jobs import read_log
from pax_jobs import run
from pax_jobs import run_until
from pax_jobs import scalars
from pax_jobs import softmoe
from pax_jobs import tags
from pax_softmoe.tools import jobs
from PIL import Image
import pytest

NAME = 'SoftMoEFashionMnist'
SETTINGS = {**TINY, 'NUM_EXPERTS': 4}


@pytest.fixture(name='job', scope='module')
def _job(tmp_path_factory) -> pathlib.Path:
  """A finished job of `softmoe train`; its result is in result.json."""
  folder = tmp_path_factory.mktemp('jobs') / 'job'
  flags = [f'--set={k}={v}' for k, v in SETTINGS.items()]
  done = softmoe('train', NAME, f'--job_dir={folder}', '--json', *flags)
  (folder / 'result.json').write_text(done.stdout)
  return folder


def test_train_reports_accuracy_and_where_everything_is(job):
  result = json.loads((job / 'result.json').read_text())
  assert result['experiment'] == NAME
  assert result['step'] == 30
  assert result['examples'] == 2000
  # Better than chance, 0.1, by far more than its deviation of 0.007.
  assert 0.15 < result['accuracy'] < 1
  for what in ('checkpoints', 'summaries', 'routing', 'log'):
    assert pathlib.Path(result[what]).exists(), what


def test_evaluate_agrees_with_the_evaluation_in_training(job):
  want = json.loads((job / 'result.json').read_text())
  got = json.loads(softmoe('evaluate', job, '--json').stdout)
  assert got['step'] == 30
  assert got['examples'] == 2000
  assert got['accuracy'] == pytest.approx(want['accuracy'], abs=1e-6)
  assert got['loss'] == pytest.approx(want['loss'], rel=1e-5)


def test_eval_mode_agrees_too(job):
  flags = as_config(NAME, **SETTINGS), f'--job_log_dir={job}', '--mode=eval'
  done = run('paxml.main', *flags)
  log = job / 'eval.log'
  log.write_text(done.stderr + done.stdout)
  got = read_log(log)
  want = json.loads((job / 'result.json').read_text())
  assert got.eval_step == 30
  assert got.eval_examples == 2000
  assert got.evaluation['accuracy'] == pytest.approx(want['accuracy'], abs=1e-6)


def test_decode_mode_predicts_every_image(job):
  flags = as_config(NAME, **SETTINGS), f'--job_log_dir={job}'
  run('paxml.main', *flags, '--mode=decode_once')
  outputs = list((job / 'decoder_out').rglob('*.jsonl'))
  assert outputs
  rows = [json.loads(l) for p in outputs for l in p.read_text().splitlines()]
  assert len(rows) == 2000


def test_routing_picture_shows_layers_and_images(job):
  picture = Image.open(job / 'routing.png')
  assert picture.width > 500 and picture.height > 200
  # Not a blank page: many different colours.
  assert len(set(picture.convert('RGB').resize((200, 100)).getdata())) > 100


def test_summaries_show_training_and_routing(job):
  names = tags(job / 'summaries' / 'train')
  moe = 'vit/blocks_1/sub/feed_forward/moe/'
  for name in (
      'loss',
      'lr',
      'Metrics/accuracy',
      moe + 'mean_max_dispatch_weight',
      moe + 'mean_max_combine_weight',
      moe + 'router_scale',
  ):
    assert any(n.startswith(name) for n in names), (name, sorted(names))


def test_killed_and_resumed_equals_uninterrupted(job, tmp_path):
  flags = as_config(NAME, **SETTINGS), f'--job_log_dir={tmp_path / "job"}'
  run_until(flags, step=14, log=tmp_path / 'log')
  assert not (tmp_path / 'job/checkpoints/checkpoint_00000030').exists()
  run('paxml.main', *flags)
  got = scalars(tmp_path / 'job/summaries/train', 'loss')
  want = scalars(job / 'summaries/train', 'loss')
  assert sorted(want) == list(range(1, 31))
  # Bit by bit: both are float32 from the same program.
  assert got == want
  # What it ran is known, as of a job of `softmoe train`.
  found = jobs.recorded(tmp_path / 'job')
  assert found == jobs.recorded(job) == (NAME, SETTINGS)


@pytest.mark.parametrize(
    'arguments, message',
    [
        (
            ['train', NAME, '--set', 'NUM_EXPERT=4'],
            'there is no setting NUM_EXPERT; the settings are',
        ),
        (
            ['train', NAME, '--set', 'IMAGE_SIZE=30'],
            'images of 30 pixels cannot be cut into patches of 7',
        ),
    ],
)
def test_bad_input_gives_one_line(arguments, message, tmp_path):
  # The record of a good job stays as it is.
  made = '{"experiment": "SoftMoEFashionMnist", "settings": {}}'
  (tmp_path / 'softmoe.json').write_text(made)
  done = softmoe(*arguments, f'--job_dir={tmp_path}', check=False)
  assert (tmp_path / 'softmoe.json').read_text() == made
  assert done.returncode == 1
  (line,) = [l for l in done.stderr.splitlines() if l.startswith('softmoe')]
  assert message in line
  assert not (tmp_path / 'checkpoints').exists()
