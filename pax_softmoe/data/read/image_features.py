"""What becomes of examples on their way into batches, see `image_input`.

Letters: B batch size of one process, s image size in pixels, c channels, C
classes.
"""

from collections.abc import Sequence
import os

from pax_softmoe.data.ops import image_ops
from praxis import py_utils
import seqio
import tensorflow as tf

NestedMap = py_utils.NestedMap


class ImageFeatures(seqio.PassThroughFeatureConverter):
  """Turns a Task's examples into one-hot labels and augmented images."""

  def __init__(
      self,
      *,
      image_size: int,
      channels: int,
      num_classes: int,
      ops: Sequence[image_ops.ImageOp],
      seed: Sequence[int],
      single_label: bool = False,
  ):
    """Keeps the settings.

    Args:
      image_size: height and width that the images have after `ops`, in pixels.
      channels: channels that images are decoded to.
      num_classes: length of the label vectors.
      ops: what to do with each decoded image, in order.
      seed: two numbers below 2^31 that all random decisions derive from.
      single_label: whether an example with several labels is an error.
    """
    super().__init__()
    self._single_label = single_label
    self._image_shape = [image_size, image_size, channels]
    self._num_classes = num_classes
    self._ops = tuple(ops)
    self._seed = tuple(seed)

  def __call__(self, ds: tf.data.Dataset, task_feature_lengths):
    """Returns `ds` with examples as in `ImageInput`, not yet batched.

    Args:
      ds: examples as `sources` describes them.
      task_feature_lengths: not used.
    """
    return ds.enumerate().map(
        self.convert, num_parallel_calls=os.cpu_count(), deterministic=True
    )

  def convert(
      self, position: tf.Tensor, example: dict[str, tf.Tensor]
  ) -> NestedMap:
    """Returns the example at a position of the stream, as in `ImageInput`."""
    seed = tf.random.experimental.stateless_fold_in(
        tf.constant(self._seed, tf.int32), tf.cast(position, tf.int32)
    )
    image = image_ops.decode_and_apply(
        example['image'], self._image_shape[-1], self._ops, seed
    )
    image = tf.ensure_shape(tf.cast(image, tf.float32), self._image_shape)
    return NestedMap(
        image=image,
        labels=one_hot(example['label'], self._num_classes, self._single_label),
        eval_sample_weights=tf.constant(1.0),
    )


def one_hot(
    labels: tf.Tensor, num_classes: int, single: bool = False
) -> tf.Tensor:
  """Returns [num_classes] float32, one at each label.

  Args:
    labels: [n] int64.
    num_classes: labels must be below it.
    single: whether there must be but one.

  Raises:
    tf.errors.InvalidArgumentError: when run, if the labels are not such.
  """
  # A wrong label would otherwise become a row of zeros, and a loss of zero.
  tf.debugging.assert_positive(tf.size(labels), 'an example has no label')
  tf.debugging.assert_non_negative(labels, 'a label is negative')
  tf.debugging.assert_less(
      labels,
      tf.constant(num_classes, tf.int64),
      f'a label is not below num_classes, {num_classes}',
  )
  result = tf.reduce_max(tf.one_hot(labels, num_classes), axis=0)
  if single:
    tf.debugging.assert_equal(
        tf.reduce_sum(result), 1.0, 'an example has several labels'
    )
  return result


def choices(rates: Sequence[float], seed: Sequence[int]) -> tf.data.Dataset:
  """Returns an endless stream of random indices of `rates`, int64 [].

  Each depends on nothing but the seed and its position, so that the stream can
  be saved and restored.

  Args:
    rates: probabilities of the indices, up to a factor.
    seed: two numbers below 2^31.
  """
  # As for `mixup`, a number that is no position.
  seed = tf.random.experimental.stateless_fold_in(
      tf.constant(tuple(seed), tf.int32), -2
  )
  ends = tf.cumsum(tf.constant(rates, tf.float32))

  def choose(position: tf.Tensor) -> tf.Tensor:
    fold = tf.random.experimental.stateless_fold_in
    draw = tf.random.stateless_uniform(
        [], fold(seed, tf.cast(position, tf.int32))
    )
    # Rounding may bring a draw up to the last end.
    index = tf.searchsorted(ends, [draw * ends[-1]], side='right')[0]
    return tf.cast(tf.minimum(index, len(rates) - 1), tf.int64)

  return tf.data.Dataset.range(tf.int64.max).map(choose)


def mixup(
    batches: tf.data.Dataset, concentration: float, seed: Sequence[int]
) -> tf.data.Dataset:
  """Blends each example with the next of its batch, the last with the first.

  All examples of a batch get the weights lambda and 1 - lambda, with lambda the
  larger share of a draw from Beta(concentration, concentration), as in the
  official V-MoE code (`mixup` of its `train/trainer.py`); there a batch is that
  of a device, here that of a host. Labels are blended like images.

  Args:
    batches: of `image` [B, s, s, c], `labels` [B, C] and others, which stay.
    concentration: above 0; towards 0 batches stay as they are, 1 makes all
      weights equally likely.
    seed: two numbers below 2^31 that all weights derive from, with the position
      of the batch.

  Returns:
    As many batches of the same shapes.
  """
  # Examples derive theirs from their positions, which are not negative.
  seed = tf.random.experimental.stateless_fold_in(
      tf.constant(tuple(seed), tf.int32), -1
  )

  def blend(position: tf.Tensor, batch: NestedMap) -> NestedMap:
    draw_seed = tf.random.experimental.stateless_fold_in(
        seed, tf.cast(position, tf.int32)
    )
    # Shares of gamma variables have a beta distribution. Small concentrations
    # make both of them 0 at times, which stands for a share of 1.
    draws = tf.random.stateless_gamma([2], draw_seed, concentration)
    share = tf.math.divide_no_nan(tf.reduce_max(draws), tf.reduce_sum(draws))
    share = tf.where(share > 0, share, 1.0)

    def mixed(x: tf.Tensor) -> tf.Tensor:
      return share * x + (1 - share) * tf.roll(x, -1, axis=0)

    return NestedMap(
        batch, image=mixed(batch['image']), labels=mixed(batch['labels'])
    )

  return batches.enumerate().map(blend)
