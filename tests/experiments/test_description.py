"""What is said of an experiment."""

from pax_softmoe import experiments
from pax_softmoe.experiments import description
import pytest


@pytest.fixture(name='demo', scope='module')
def _demo():
  return description.describe(experiments.SoftMoEFashionMnist)


def test_settings_say_who_set_them(demo):
  settings = demo['settings']
  # The leaf, its recipe, and nobody.
  assert settings['NUM_EXPERTS']['set_by'] == 'SoftMoEFashionMnist'
  assert settings['MODEL_DIMS']['set_by'] == 'recipes.FashionMnist'
  assert settings['NOISE_STDDEV']['set_by'] is None
  assert settings['EMA_DECAY']['group'] == 'Long jobs'


def test_a_given_setting_is_said_to_be_given():
  changed = experiments.SoftMoEFashionMnist.with_settings(NUM_EXPERTS=2)
  got = description.describe(changed, ['NUM_EXPERTS'])
  assert got['num_experts'] == 2
  assert got['settings']['NUM_EXPERTS']['value'] == 2
  assert got['settings']['NUM_EXPERTS']['set_by'] == '--set'


def test_arrays_of_the_model_are_listed_with_their_splits(demo):
  weights = {array['name']: array for array in demo['weights']}
  wi = weights['vit/blocks_2/sub/feed_forward/moe/experts/wi']
  assert wi['shape'] == (2, 16, 128, 256)
  # 4 blocks, two with 16 experts of one slot.
  assert (demo['moe_layers'], demo['slots_per_expert']) == (2, 1)


def test_results_of_a_paper_are_for_its_model_alone():
  assert 'published' in description.describe(experiments.SoftMoES16)
  other = experiments.SoftMoES16.with_settings(NUM_EXPERTS=64)
  assert 'published' not in description.describe(other, ['NUM_EXPERTS'])


def test_settings_that_do_not_fit_are_refused():
  wrong = experiments.SoftMoEFashionMnist.with_settings(MODEL_DIMS=97)
  with pytest.raises(ValueError, match='97 model dims'):
    description.describe(wrong, ['MODEL_DIMS'])
