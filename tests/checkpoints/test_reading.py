"""Whether an experiment can go on from a checkpoint."""

import jax
import numpy as np
from pax_softmoe import experiments
from pax_softmoe.checkpoints import reading
from pax_softmoe.model_size import counts
from praxis import py_utils
import pytest
import tensorstore


def experiment(**settings):
  return experiments.SoftMoEFashionMnist.with_settings(**settings)()


@pytest.fixture(name='job', scope='module')
def _job(tmp_path_factory):
  """A job with a checkpoint of four experts at step 7, as Pax writes them."""
  job = tmp_path_factory.mktemp('job')
  folder = job / 'checkpoints' / 'checkpoint_00000007' / 'state'
  weights = counts.abstract_weights(experiment(NUM_EXPERTS=4))
  names = py_utils.extract_prefixed_keys_from_nested_map(
      weights, key_separator='.'
  )
  for name, w in zip(
      jax.tree_util.tree_leaves(names), jax.tree_util.tree_leaves(weights)
  ):
    path = str(folder / f'mdl_vars.params.{name}')
    spec = {'driver': 'zarr', 'kvstore': {'driver': 'file', 'path': path}}
    array = tensorstore.open(
        spec,
        create=True,
        dtype=tensorstore.float32,
        shape=w.full_shape,
    ).result()
    array.write(np.full(w.full_shape, 3.0, np.float32)).result()
  return job


def test_weights_are_read_with_their_step(job):
  step, weights = reading.read_weights(job)
  assert step == 7
  np.testing.assert_array_equal(weights.head.bias, np.full(10, 3.0))


def test_same_experiment_fits(job):
  reading.check_fits(job, experiment(NUM_EXPERTS=4))


@pytest.mark.parametrize(
    'settings, message',
    [
        (
            dict(NUM_EXPERTS=8),
            'has 4 experts in the weights and 8 in the model',
        ),
        (dict(NUM_EXPERTS=4, SCAN_LAYERS=False), 'another SCAN_LAYERS'),
    ],
)
def test_other_experiments_do_not(settings, message, job):
  with pytest.raises(ValueError, match=message):
    reading.check_fits(job, experiment(**settings))
