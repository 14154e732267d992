"""Converting weights and optimizer state between scanned and single blocks."""

import jax
import layer_testing
import numpy as np
from pax_softmoe import experiments
from pax_softmoe.checkpoints import convert
from pax_softmoe.tpu import train_step
from praxis import py_utils
import pytest

# Runs of two, one and two equal blocks.
SETTINGS = dict(
    PATCH_SIZE=14,
    MODEL_DIMS=8,
    HIDDEN_DIMS=16,
    NUM_HEADS=2,
    NUM_LAYERS=5,
    MOE_LAYERS=(2,),
    NUM_EXPERTS=2,
)


def experiment(**settings):
  settings = {**SETTINGS, **settings}
  return experiments.SoftMoEFashionMnist.with_settings(**settings)()


@pytest.fixture(name='model', scope='module')
def _model():
  """Returns a function from SCAN_LAYERS to a model and its own weights."""
  images = np.random.RandomState(0).uniform(-1, 1, [3, 28, 28, 1])
  images = images.astype(np.float32)

  def make(scan_layers):
    vit = experiment(SCAN_LAYERS=scan_layers).model().vit_tpl
    layer = layer_testing.instantiate(vit)
    weights = layer_testing.init(layer, images, seed=int(scan_layers))
    return lambda w: layer_testing.apply(layer, w, images), weights

  return make


def same(got, want):
  jax.tree_util.tree_map(np.testing.assert_array_equal, got, want)


def test_unstacked_weights_compute_the_same_in_single_blocks(model):
  scanned, weights = model(True)
  single, own = model(False)
  converted = convert.unstack(weights)
  assert set(weights['params']) > {'blocks_0', 'blocks_2', 'blocks_3'}
  assert set(converted['params']) == set(own['params'])
  np.testing.assert_allclose(
      single(converted), scanned(weights), rtol=1e-5, atol=1e-6
  )
  # The weights matter: others give something else.
  assert np.abs(single(own) - scanned(weights)).max() > 0.1
  same(convert.stack(converted), weights)


def test_stacked_weights_compute_the_same_in_a_scan(model):
  scanned, own = model(True)
  single, weights = model(False)
  converted = convert.stack(weights)
  assert jax.tree_util.tree_structure(converted) == (
      jax.tree_util.tree_structure(own)
  )
  np.testing.assert_allclose(
      scanned(converted), single(weights), rtol=1e-5, atol=1e-6
  )
  same(convert.unstack(converted), weights)


def numbered_state(scan_layers):
  """Returns a train state in which every array is different."""
  tried = experiment(SCAN_LAYERS=scan_layers, ICI_MESH_SHAPE=(1, 1, 1, 1))
  shapes = train_step.TrainStep(tried, jax.devices()[:1]).state
  leaves, structure = jax.tree_util.tree_flatten(shapes)
  arrays = [
      np.arange(np.prod(x.shape)).reshape(x.shape) + 1000 * i
      for i, x in enumerate(leaves)
  ]
  return structure.unflatten(arrays)


def test_whole_train_state_gets_the_shapes_of_the_other_model():
  scanned, single = numbered_state(True), numbered_state(False)
  for tree in ('mdl_vars', 'opt_states'):
    stacked, unstacked = getattr(scanned, tree), getattr(single, tree)
    got = convert.unstack(stacked)
    assert jax.tree_util.tree_map(np.shape, got) == (
        jax.tree_util.tree_map(np.shape, unstacked)
    )
    same(convert.stack(got), stacked)
  names = py_utils.extract_prefixed_keys_from_nested_map(single.opt_states)
  assert any(
      '/m/params/vit/block_2' in n for n in jax.tree_util.tree_leaves(names)
  )


def test_layer_i_of_a_stack_becomes_block_k_plus_i():
  wi = np.arange(6).reshape(3, 2)
  tree = {'blocks_4': {'sub': {'wi': wi}}, 'norm': np.ones(2)}
  got = convert.unstack(tree)
  assert sorted(got) == ['block_4', 'block_5', 'block_6', 'norm']
  np.testing.assert_array_equal(got['block_5']['wi'], [2, 3])


def test_arrays_that_are_no_stack_are_refused():
  arrays = {'a': np.zeros([2, 3]), 'b': np.zeros([3, 3])}
  with pytest.raises(ValueError, match=r'blocks_0 is no stack .* \[2, 3\]'):
    convert.unstack({'blocks_0': {'sub': arrays}})


def weights_of(**settings):
  tried = experiment(ICI_MESH_SHAPE=(1, 1, 1, 1), **settings)
  state = train_step.TrainStep(tried, jax.devices()[:1]).state
  return state.mdl_vars['params']


@pytest.mark.parametrize(
    'settings, message',
    [
        (
            dict(NUM_EXPERTS=4),
            (
                'vit/blocks_2/sub/feed_forward/moe has 2 experts in the weights'
                ' and 4 in the model; set NUM_EXPERTS to 2, or .* upcycling'
            ),
        ),
        (
            dict(SLOTS_PER_EXPERT=2),
            r'moe/phi is \(1, 8, 2, 1\) in the weights and \(1, 8, 2, 2\)'
            r' in the'
            ' model; set the router and its slots',
        ),
        (
            dict(PATCH_SIZE=7),
            'patch_embedding/kernel is .* another size of model',
        ),
        (dict(SCAN_LAYERS=False), 'another SCAN_LAYERS; .*convert.unstack'),
        (dict(MOE_LAYERS=(3,)), 'vit/blocks_.*; the weights are of another'),
    ],
)
def test_weights_of_another_model_are_refused(settings, message):
  with pytest.raises(ValueError, match=message):
    convert.check_shapes(weights_of(), weights_of(**settings))


def test_weights_of_the_same_model_are_accepted():
  convert.check_shapes(weights_of(), weights_of())
