"""Where arrays live, against sizes worked out by hand."""

import jax
from pax_softmoe import experiments
from pax_softmoe.model_size import placement
import pytest


def described(arrays):
  return {a.name: (a.shape, a.split_text(), a.bytes_per_device) for a in arrays}


@pytest.fixture(name='flagship')
def _flagship(monkeypatch):
  """H/14 with 128 experts and 4096 images on 256 chips, 2 x 128."""
  monkeypatch.setattr(jax, 'device_count', lambda: 256)
  return experiments.SoftMoEH14()


def test_weights_of_an_expert_and_of_all(flagship):
  got = described(placement.weights(flagship))
  # 16 layers of one expert, 1280 x 5120 float32.
  assert got['vit/blocks_16/sub/feed_forward/moe/experts/wi'] == (
      (16, 128, 1280, 5120),
      '-, expert, -, -',
      16 * 1280 * 5120 * 4,
  )
  shape, split, size = got['vit/blocks_0/sub/attention/wq']
  assert (shape, split) == ((16, 1280, 16, 80), 'replicated')
  assert size == 16 * 1280 * 1280 * 4


def test_activations_of_16_images_a_chip(flagship):
  got = described(placement.activations(flagship))
  batch = 'replica+data+expert'
  tokens = 16 * 256
  assert got == {
      'image': (
          (4096, 224, 224, 3),
          f'{batch}, -, -, -',
          16 * 224 * 224 * 3 * 4,
      ),
      'tokens': ((4096, 256, 1280), f'{batch}, -, -', tokens * 1280 * 2),
      'attention/queries': (
          (16, 4096, 80, 256),
          f'-, {batch}, -, -',
          tokens * 1280 * 2,
      ),
      'attention/scores': (
          (16, 4096, 256, 256),
          f'-, {batch}, -, -',
          16 * 16 * 256 * 256 * 4,
      ),
      'feed_forward/hidden': (
          (4096, 256, 5120),
          f'{batch}, -, -',
          tokens * 5120 * 2,
      ),
      'moe/scores': (
          (4096, 256, 128, 1),
          f'{batch}, -, -, -',
          tokens * 128 * 4,
      ),
      # One expert a chip, with the slots of the 2048 images of 128 chips.
      'moe/slots': (
          (128, 4096, 1, 1280),
          'expert, replica+data, -, -',
          2048 * 1280 * 2,
      ),
      'moe/hidden': (
          (128, 4096, 1, 5120),
          'expert, replica+data, -, -',
          2048 * 5120 * 2,
      ),
      'moe/outputs': (
          (128, 4096, 1, 1280),
          'expert, replica+data, -, -',
          2048 * 1280 * 2,
      ),
      'features': ((4096, 1280), f'{batch}, -', 16 * 1280 * 4),
      'logits': ((4096, 29593), f'{batch}, -', 16 * 29593 * 4),
  }


def test_activations_of_other_routers(monkeypatch):
  monkeypatch.setattr(jax, 'device_count', lambda: 8)
  settings = dict(
      ICI_MESH_SHAPE=(1, 2, 4, 1), GROUP_SIZE=8, TRAIN_BATCH_SIZE=64
  )
  sparse = experiments.ExpertsChoiceFashionMnist.with_settings(**settings)()
  got = described(placement.activations(sparse))
  # 64 images of 16 tokens in groups of 8; 128 tokens for 16 experts are 8 each.
  assert got['moe/scores'][:2] == ((8, 128, 16), 'replica+data+expert, -, -')
  assert got['moe/slots'] == (
      (16, 8, 8, 128),
      'expert, replica+data, -, -',
      16 // 4 * 8 // 2 * 8 * 128 * 4,
  )
  fixed = described(placement.activations(experiments.IdentityFashionMnist()))
  assert 'moe/scores' not in fixed and 'moe/slots' in fixed
  dense = described(placement.activations(experiments.ViTFashionMnist()))
  assert not any(name.startswith('moe') for name in dense)
  every = experiments.SoftMoEFashionMnist.with_settings(MOE_LAYERS=range(4))()
  assert 'feed_forward/hidden' not in described(placement.activations(every))
