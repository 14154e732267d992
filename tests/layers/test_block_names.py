"""Names of single blocks and of stacks, and what a stack's arrays mean."""

import jax
import layer_testing
import numpy as np
from pax_softmoe import experiments
from pax_softmoe.checkpoints import lazy_array
from pax_softmoe.layers import block_names
from praxis import py_utils


def test_layer_i_of_a_stack_is_block_k_plus_i():
  name = 'vit/blocks_4/sub/attention/wq'
  assert block_names.is_stacked(name)
  assert block_names.singles(name, [3, 8, 2, 4]) == [
      'vit/block_4/attention/wq',
      'vit/block_5/attention/wq',
      'vit/block_6/attention/wq',
  ]
  assert block_names.singles('blocks_0/sub/wi', [1, 2]) == ['block_0/wi']


def test_other_arrays_keep_their_names():
  for name in ('vit/block_3/moe/phi', 'vit/norm/bias', 'head/kernel'):
    assert not block_names.is_stacked(name)
    assert block_names.singles(name, [2, 2]) == [name]


def test_children_are_parsed_back():
  assert block_names.parse(block_names.single(12)) == (12, False)
  assert block_names.parse(block_names.stack(12)) == (12, True)


def test_blocks_are_counted_once_and_in_order():
  names = [
      'vit/block_10/moe/phi',
      'vit/block_9/moe/phi',
      'vit/block_9/moe/scale',
      'vit/positions',
  ]
  assert block_names.numbers(names) == (9, 10)


def test_weights_of_stacks_compute_the_same_in_single_blocks():
  # Runs of two, one and two equal blocks.
  settings = dict(
      PATCH_SIZE=14,
      MODEL_DIMS=8,
      HIDDEN_DIMS=16,
      NUM_HEADS=2,
      NUM_LAYERS=5,
      MOE_LAYERS=(2,),
      NUM_EXPERTS=2,
  )
  images = np.random.RandomState(0).uniform(-1, 1, [3, 28, 28, 1])
  images = images.astype(np.float32)
  layers, weights = {}, {}
  for scan in (True, False):
    of = experiments.SoftMoEFashionMnist.with_settings(
        SCAN_LAYERS=scan, **settings
    )
    layers[scan] = layer_testing.instantiate(of().model().vit_tpl)
    weights[scan] = layer_testing.init(layers[scan], images, seed=int(scan))
  assert set(weights[True]['params']) > {'blocks_0', 'blocks_2', 'blocks_3'}
  arrays = {
      name: lazy_array.LazyArray(name, x.shape, np.asarray(x).__getitem__)
      for name, x in lazy_array.by_name(weights[True]['params']).items()
  }
  tree = py_utils.NestedMap.FromNestedDict(weights[True]['params'])
  tree = tree.Pack([arrays[name] for name in lazy_array.by_name(tree)])
  single = lazy_array.split_stacks(tree)
  names = lazy_array.by_name(weights[False]['params'])
  assert single.keys() == names.keys()
  own = py_utils.NestedMap.FromNestedDict(weights[False]['params'])
  params = own.Pack([single[name].whole() for name in names])
  got = layer_testing.apply(layers[False], {'params': params}, images)
  want = layer_testing.apply(layers[True], weights[True], images)
  # jax 0.10.2 rounds scanned and single blocks differently.
  atol = 1e-6 if jax.__version_info__ < (0, 10) else 5e-6
  np.testing.assert_allclose(got, want, rtol=1e-5, atol=atol)
  # The weights matter: others give something else.
  other = layer_testing.apply(layers[False], weights[False], images)
  assert np.abs(other - want).max() > 0.1
