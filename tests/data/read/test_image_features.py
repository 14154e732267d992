"""Labels, rates and mixup."""

import numpy as np
from pax_softmoe.data.read import image_features
import pytest
import tensorflow as tf


def test_mixup_weights_are_the_larger_share_of_a_beta_distribution():
  batch = {'image': [[1.0], [0.0]], 'labels': [[1.0], [0.0]]}
  batches = tf.data.Dataset.from_tensors(batch).repeat(2000)
  for concentration in (0.05, 0.5, 4.0):
    mixed = image_features.mixup(batches, concentration, (3, 0))
    got = [b.image[0, 0] for b in mixed.as_numpy_iterator()]
    draws = np.random.RandomState(0).beta(concentration, concentration, 200_000)
    want = np.maximum(draws, 1 - draws)
    # 2,000 draws: their mean is within four deviations of it.
    assert abs(np.mean(got) - want.mean()) < 4 * want.std() / 2000**0.5
    assert abs(np.std(got) - want.std()) < 0.02


def test_labels_become_ones():
  got = image_features.one_hot(tf.constant([2, 0], tf.int64), 4)
  assert got.numpy().tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize('labels', [[4], [-1], [0, 7]])
def test_labels_outside_the_classes_are_an_error(labels):
  with pytest.raises(tf.errors.InvalidArgumentError):
    image_features.one_hot(tf.constant(labels, tf.int64), 4)


def test_choices_repeat_themselves_for_a_seed():
  def first(seed):
    chosen = image_features.choices([0.75, 0.25], seed).take(400)
    return np.array(list(chosen.as_numpy_iterator()))

  np.testing.assert_array_equal(first([1, 2]), first([1, 2]))
  assert (first([1, 2]) != first([1, 3])).any()
  # 3 standard deviations of a share of a quarter.
  assert abs(first([1, 2]).mean() - 0.25) < 3 * (0.25 * 0.75 / 400) ** 0.5
