"""Tests of the SeqIO source of images in memory."""

import numpy as np
from pax_softmoe.data.read import array_source
import pytest
import seqio
import tensorflow as tf

NUM_IMAGES = 50


def load(split):
  """Returns 50 images of one pixel, whose value is the label too."""
  assert split == 'train'
  numbers = np.arange(NUM_IMAGES, dtype=np.uint8)
  return numbers.reshape(-1, 1, 1), numbers


def read(**kwargs):
  """Returns the numbers of the examples in their order."""
  ds = array_source.ArrayDataSource(load, ['train']).get_dataset(
      'train', **kwargs
  )
  numbers = []
  for example in ds:
    (label,) = example['label'].numpy()
    assert tf.io.decode_png(example['image']).numpy().tolist() == [[[label]]]
    numbers.append(int(label))
  return numbers


def test_examples_come_in_order_unless_shuffled():
  assert read(shuffle=False) == list(range(NUM_IMAGES))


def test_order_is_a_permutation_that_depends_on_the_seed():
  orders = [read(seed=seed) for seed in (1, 1, 2, None)]
  assert orders[0] == orders[1]
  assert len({tuple(order) for order in orders}) == 3
  for order in orders:
    assert sorted(order) == list(range(NUM_IMAGES))


@pytest.mark.parametrize('shuffle', [True, False])
@pytest.mark.parametrize('num_shards', [2, 7])
def test_shards_are_disjoint_and_complete(num_shards, shuffle):
  shards = [
      read(shuffle=shuffle, seed=5, shard_info=seqio.ShardInfo(i, num_shards))
      for i in range(num_shards)
  ]
  assert sorted(sum(shards, [])) == list(range(NUM_IMAGES))
  sizes = [len(shard) for shard in shards]
  assert max(sizes) - min(sizes) <= 1
