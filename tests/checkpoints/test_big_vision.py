"""Names and forms of big_vision's files; `softmoe import` tests the rest."""

import numpy as np
from pax_softmoe.checkpoints import big_vision
import pytest


def save(tmp_path, **arrays):
  """Writes an .npz of the patches' kernel, two positions, and more."""
  file = tmp_path / 'vit.npz'
  base = {
      'params/embedding/kernel': np.arange(16.0).reshape(2, 2, 1, 4),
      'params/pos_embedding': np.zeros([1, 4, 4]),
  }
  np.savez(file, **base | {f'params/{k}': v for k, v in arrays.items()})
  return file


def test_patches_are_rows_of_pixels(tmp_path):
  found = big_vision.open_npz(save(tmp_path), 2)
  kernel = found['vit/patch_embedding/kernel']
  assert kernel.shape == (4, 4)
  np.testing.assert_array_equal(kernel.whole()[1], [4, 5, 6, 7])
  assert found['vit/positions'].shape == (4, 4)


def test_scanned_layers_become_single_blocks(tmp_path):
  names = 'Transformer/encoderblock/MlpBlock_0/Dense_0/bias'
  found = big_vision.open_npz(
      save(tmp_path, **{names: np.array([[1.0, 2.0], [3.0, 4.0]])}), 2
  )
  name = 'vit/block_{}/feed_forward/ffn_layer1/bias/b'
  np.testing.assert_array_equal(found[name.format(0)].whole(), [1, 2])
  np.testing.assert_array_equal(found[name.format(1)].whole(), [3, 4])


@pytest.mark.parametrize(
    'arrays, message',
    [
        ({'cls': np.zeros([1, 1, 4])}, 'has a class token .*--drop_cls'),
        ({'pre_logits/kernel': np.ones([4, 4])}, 'a hidden layer before the'),
        ({'probe': np.ones([1, 1, 4])}, 'pools with attention .*--fresh_head'),
        ({'other': np.ones([3])}, r'other \(3,\) has no place in our ViT'),
        (
            {'pos_embedding': np.zeros([4, 4])},
            r'must have the shape \(1, patch',
        ),
    ],
)
def test_other_models_are_refused(tmp_path, arrays, message):
  with pytest.raises(ValueError, match=message):
    big_vision.open_npz(save(tmp_path, **arrays), 2)
