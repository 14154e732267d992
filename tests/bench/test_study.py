"""The comparison of routers: its plan, its results, and one small one."""

import json

from pax_jobs import TINY
from pax_jobs import softmoe
from pax_softmoe import experiments
from pax_softmoe.bench import study
from PIL import Image
import pytest

VIT = experiments.ViTFashionMnist
SOFT = experiments.SoftMoEFashionMnist


def test_plan_changes_only_what_an_experiment_has(tmp_path):
  settings = {'NUM_EXPERTS': 8, 'LEARNING_RATE': 1e-3}
  runs = study.plan([VIT, SOFT], [0, 5], settings, None, tmp_path)
  assert [(run.experiment, run.seed) for run in runs] == [
      ('ViTFashionMnist', 0),
      ('SoftMoEFashionMnist', 0),
      ('ViTFashionMnist', 5),
      ('SoftMoEFashionMnist', 5),
  ]
  assert runs[2].settings == {'LEARNING_RATE': 1e-3, 'SEED': 5}
  assert runs[3].settings == {**settings, 'SEED': 5}
  assert {run.steps for run in runs} == {SOFT.NUM_TRAIN_STEPS}
  assert not runs[0].is_trained()


def test_plan_refuses_a_setting_that_nothing_has(tmp_path):
  with pytest.raises(ValueError, match='has a setting NUM_EXPERTS'):
    study.plan([VIT], [0], {'NUM_EXPERTS': 8}, None, tmp_path)


@pytest.mark.parametrize(
    'settings, message',
    [
        ({'task': 4}, 'none of the experiments has a setting task'),
        ({'REMAT': 4}, '^ViTFashionMnist: REMAT is 4 .int.; it takes one of'),
    ],
)
def test_plan_refuses_what_experiments_do_not_take(settings, message, tmp_path):
  with pytest.raises(ValueError, match=message):
    study.plan([VIT], [0], settings, None, tmp_path)


def test_schedule_is_stretched_with_the_steps():
  # 1,000 steps with 100 of warm-up and 900 of cool-down.
  assert study.schedule(VIT, 300) == {
      'NUM_TRAIN_STEPS': 300,
      'WARMUP_STEPS': 30,
      'COOLDOWN_STEPS': 270,
      'TIMESCALE': 300,
  }
  for steps in (1, 3, 17):
    VIT.with_settings(**study.schedule(VIT, steps))().validate()


@pytest.fixture(name='rows')
def _rows(tmp_path):
  runs = study.plan([VIT, SOFT], [0, 1], {}, None, tmp_path)
  for run, accuracy in zip(runs, (0.80, 0.85, 0.82, 0.85)):
    run.job_dir.mkdir()
    found = {'examples': 2000, 'accuracy': accuracy}
    (run.job_dir / 'evaluation.json').write_text(json.dumps(found))
  measured = {
      name: {
          'parameters': 1234,
          'gflop_per_image': 0.5,
          'ms_per_image': {'min': 1.0, 'median': 2.0, 'max': 3.0},
      }
      for name in ('ViTFashionMnist', 'SoftMoEFashionMnist')
  }
  return study.results(runs, measured)


def test_results_have_mean_and_deviation_over_seeds(rows):
  vit, soft = rows
  assert vit['accuracy'] == {'0': 0.80, '1': 0.82}
  assert vit['accuracy_mean'] == pytest.approx(0.81)
  # Of a sample of two: half the distance, times the root of two.
  assert vit['accuracy_stddev'] == pytest.approx(0.01 * 2**0.5)
  assert soft['accuracy_stddev'] == 0


def test_table_and_plot_show_every_experiment(rows, tmp_path):
  lines = study.table(rows).splitlines()
  assert len(lines) == 4
  assert lines[2] == (
      '| ViTFashionMnist | 81.00 ± 1.41 | 1,234 | 0.5000 |'
      ' 2.000 (1.000 to 3.000) |'
  )
  study.draw(rows, tmp_path / 'plot.png')
  assert Image.open(tmp_path / 'plot.png').width > 500


@pytest.mark.slow
def test_study_repeats_nothing_that_is_finished(tmp_path):
  settings = {k: v for k, v in TINY.items() if k != 'NUM_TRAIN_STEPS'}
  arguments = [
      'study',
      '--experiments=ViTFashionMnist',
      '--seeds=3',
      '--steps=20',
      f'--output={tmp_path}',
      '--json',
      *(f'--set={k}={v}' for k, v in settings.items() if 'STEPS' not in k),
  ]
  first = json.loads(softmoe(*arguments).stdout)
  log = tmp_path / 'jobs/ViTFashionMnist-3/pax.log'
  size = log.stat().st_size
  again = json.loads(softmoe(*arguments).stdout)
  assert log.stat().st_size == size
  assert first['steps'] == 20
  (row,) = again['results']
  assert row['accuracy'] == first['results'][0]['accuracy']
  assert row['examples'] == 2000
  assert (tmp_path / 'table.md').exists() and (tmp_path / 'plot.png').exists()
  done = softmoe(*arguments, '--set=LEARNING_RATE=0.5', check=False)
  assert done.returncode == 2
  assert 'with other settings' in done.stderr.splitlines()[-1]
