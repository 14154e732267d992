"""Stacks of equal blocks, scanned."""

import jax
import layer_testing
import numpy as np
import pytest
import small_vit


@pytest.mark.parametrize(
    'moe_layers, names',
    [
        ((), ['blocks_0']),
        ((2, 3), ['blocks_0', 'blocks_2']),
        ((1, 3), ['blocks_0', 'blocks_1', 'blocks_2', 'blocks_3']),
        ((0, 1, 2, 3), ['blocks_0']),
    ],
)
def test_runs_of_equal_blocks_are_stacks(moe_layers, names):
  params = layer_testing.init(
      small_vit.make(moe_layers=moe_layers), small_vit.images()
  )
  stacks = sorted(n for n in params['params'] if n.startswith('blocks_'))
  assert stacks == names


def unstacked(params, moe_layers):
  """Returns scanned parameters as those of the unrolled model."""
  result = {k: v for k, v in params.items() if not k.startswith('blocks_')}
  for name, value in params.items():
    if name.startswith('blocks_'):
      first = int(name.removeprefix('blocks_'))
      count = jax.tree_util.tree_leaves(value)[0].shape[0]
      for i in range(count):
        result[f'block_{first + i}'] = jax.tree_util.tree_map(
            lambda x, i=i: x[i], value['sub']
        )
  return result


def test_scanned_equals_unrolled():
  x, moe_layers = small_vit.images(), (2, 3)
  scanned = small_vit.make(moe_layers=moe_layers)
  unrolled = small_vit.make(moe_layers=moe_layers, scan_layers=False)
  variables = layer_testing.init(scanned, x)
  flat = {'params': unstacked(variables['params'], moe_layers)}
  assert jax.tree_util.tree_structure(flat) == jax.tree_util.tree_structure(
      layer_testing.init(unrolled, x)
  )
  got, got_gradient = small_vit.loss_and_gradient(scanned, variables, x)
  want, want_gradient = small_vit.loss_and_gradient(unrolled, flat, x)
  np.testing.assert_allclose(got, want, rtol=1e-6)
  got_gradient = unstacked(got_gradient, moe_layers)
  small_vit.assert_close(got_gradient, want_gradient)


def test_scanned_layers_report_summaries_one_by_one():
  vit = small_vit.make(moe_layers=(2, 3))
  x = small_vit.images()
  variables = layer_testing.init(vit, x)
  _, state = vit.apply(variables, x, mutable=['summaries'])
  moe = state['summaries']['blocks_2']['sub']['feed_forward']['moe']
  assert len(moe['router_scale_scalar']) == 2


def test_experts_of_different_layers_start_differently():
  params = layer_testing.init(
      small_vit.make(moe_layers=(2, 3)), small_vit.images()
  )['params']
  moe = params['blocks_2']['sub']['feed_forward']['moe']
  wi = np.asarray(moe['experts']['wi'])
  assert (wi[0] != wi[1]).all()
  assert (wi[:, 0] == wi[:, 1]).all()
