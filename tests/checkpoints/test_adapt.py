"""Which weights of one model go where in another."""

import numpy as np
from pax_softmoe.checkpoints import adapt
from pax_softmoe.checkpoints import lazy_array
import pytest


def lazy(**arrays):
  return {
      name.replace('__', '/'): lazy_array.LazyArray(
          name.replace('__', '/'), a.shape, a.__getitem__
      )
      for name, a in arrays.items()
  }


def test_positions_are_interpolated_with_corners_on_corners():
  table = np.array([[0.0], [1.0], [2.0], [3.0]], np.float32)
  source = lazy(vit__positions=table)
  got = adapt.adapt('x', source, {'vit/positions': (9, 1)}, adapt.Changes())
  # Halfway between neighbours of a grid of 2 x 2.
  want = [0, 0.5, 1, 1, 1.5, 2, 2, 2.5, 3]
  np.testing.assert_allclose(got['vit/positions'].whole()[:, 0], want)


MLP = {
    'vit__block_0__feed_forward__ffn_layer1__linear__w': np.ones([2, 3]),
    'vit__block_0__feed_forward__ffn_layer1__bias__b': np.zeros([3]),
}
EXPERTS = {
    'vit/block_0/feed_forward/moe/experts/wi': (4, 2, 3),
    'vit/block_0/feed_forward/moe/experts/bi': (4, 3),
    'vit/block_0/feed_forward/moe/phi': (2, 4, 1),
}


def test_an_mlp_becomes_experts_only_if_asked():
  source = lazy(**MLP)
  with pytest.raises(ValueError, match='softmoe import --upcycle'):
    adapt.adapt('x', source, EXPERTS, adapt.Changes())
  got = adapt.adapt('x', source, EXPERTS, adapt.Changes(upcycle=True))
  wi, _, phi = (got[name] for name in EXPERTS)
  np.testing.assert_array_equal(wi.whole(), np.ones([4, 2, 3]))
  assert phi is None


def test_noise_is_the_same_in_every_part_and_differs_by_expert():
  source = lazy(**{**MLP, next(iter(MLP)): np.arange(6.0).reshape(2, 3)})
  changes = adapt.Changes(upcycle=True, noise=0.5, seed=1)
  wi, bi, _ = adapt.adapt('x', source, EXPERTS, changes).values()
  whole = wi.whole()
  part = wi.read((slice(1, 3), slice(0, 1), slice(None)))
  np.testing.assert_array_equal(part, whole[1:3, :1])
  assert (whole[0] != whole[1]).all()
  # Biases have none.
  np.testing.assert_array_equal(bi.whole(), np.zeros([4, 3]))


@pytest.mark.parametrize(
    'name, have, want, setting',
    [
        ('vit/norm/scale', (8,), (16,), 'MODEL_DIMS'),
        ('x/moe/phi', (8, 4, 1), (8, 4, 2), 'SLOTS_PER_EXPERT'),
        ('x/moe/experts/wi', (4, 8, 16), (2, 8, 16), 'NUM_EXPERTS'),
        ('x/attention/wq', (8, 2, 4), (8, 4, 2), 'NUM_HEADS'),
        ('head/bias', (10,), (7,), 'NUM_CLASSES'),
        # Stacked layers have an axis more.
        ('x/sub/ffn_layer1/bias/b', (2, 16), (2, 32), 'HIDDEN_DIMS'),
    ],
)
def test_the_setting_that_differs_is_named(name, have, want, setting):
  assert adapt.setting_of(name, have, want) == setting


def test_what_is_left_over_is_an_error():
  source = lazy(vit__norm__scale=np.ones(2), extra=np.ones(3))
  with pytest.raises(
      ValueError, match=r'x has extra \(3,\), the model nothing'
  ):
    adapt.adapt('x', source, {'vit/norm/scale': (2,)}, adapt.Changes())
