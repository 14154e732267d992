"""A tiny member of every family trains through paxml.main."""

import pathlib
import shutil

from pax_jobs import TINY
from pax_jobs import as_config
from pax_jobs import run
from pax_jobs import scalars
from pax_softmoe.data.read import sources
import pytest

STEPS = 20
SETTINGS = {
    **TINY,
    'NUM_TRAIN_STEPS': STEPS,
    'EVAL_INTERVAL_STEPS': STEPS,
    'SAVE_INTERVAL_STEPS': STEPS,
}
# Each job takes half a minute of a core, so CI runs the one that differs most.
FAMILIES = [
    ('TokensChoice', dict(NUM_EXPERTS=4, NUM_SELECTED_EXPERTS=2)),
    pytest.param('ExpertsChoice', dict(NUM_EXPERTS=4), marks=pytest.mark.slow),
    pytest.param('ViT', {}, marks=pytest.mark.slow),
    pytest.param('SoftMoE', dict(NUM_EXPERTS=4), marks=pytest.mark.slow),
    pytest.param('Identity', dict(NUM_EXPERTS=16), marks=pytest.mark.slow),
    pytest.param('Uniform', dict(NUM_EXPERTS=4), marks=pytest.mark.slow),
]


@pytest.mark.parametrize('family, settings', FAMILIES)
def test_family_trains_through_paxml(family, settings, tmp_path):
  run(
      'paxml.main',
      as_config(f'{family}FashionMnist', **SETTINGS, **settings),
      f'--job_log_dir={tmp_path}',
  )
  assert (tmp_path / f'checkpoints/checkpoint_{STEPS:08d}').exists()
  summaries = tmp_path / 'summaries' / 'train'
  total = scalars(summaries, 'Metrics/total_loss')
  loss = scalars(summaries, 'Metrics/loss')
  assert sorted(total) == list(range(1, STEPS + 1))
  first, last = (sum(loss[i] for i in r) for r in (range(1, 6), range(16, 21)))
  assert last < first
  auxiliary = [total[i] - loss[i] for i in total]
  if family == 'TokensChoice':
    # Two losses of about one, each times 0.005.
    assert all(1e-5 < value < 0.1 for value in auxiliary)
  else:
    assert auxiliary == [0] * STEPS


@pytest.mark.slow
def test_fine_tuning_recipe_trains_through_paxml(tmp_path):
  settings = {k: v for k, v in SETTINGS.items() if k != 'COOLDOWN_STEPS'}
  data = tmp_path / 'data'
  data.mkdir()
  embedded = pathlib.Path(sources.__file__).parent / 'fashion_mnist'
  for split, name in (('train', 'train'), ('test', 'validation')):
    first = sorted(embedded.glob(f'{split}-*'))[0]
    shutil.copy(first, data / f'{name}-00000-of-00001.tfrecord')
  config = as_config(
      'SoftMoES16ImageNet',
      **settings,
      DATA_DIR=str(data),
      IMAGE_SIZE=28,
      CHANNELS=1,
      NUM_CLASSES=10,
      EVAL_BATCH_SIZE=200,
      NUM_EXPERTS=4,
  )
  run('paxml.main', config, f'--job_log_dir={tmp_path / "job"}')
  rates = scalars(tmp_path / 'job/summaries/train', 'lr_scalar')
  assert max(rates.values()) == pytest.approx(3e-3)
  assert rates[STEPS] < 1e-4
