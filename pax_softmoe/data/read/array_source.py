"""A SeqIO data source of images that fit in memory."""

from collections.abc import Callable
from collections.abc import Sequence

import numpy as np
import seqio
import tensorflow as tf


class ArrayDataSource(seqio.DataSource):
  """Gives arrays of images out as PNGs, like a data set of image files.

  It shuffles all examples by itself, so that a Task needs no shuffle buffer.
  """

  def __init__(
      self,
      load: Callable[[str], tuple[np.ndarray, np.ndarray]],
      splits: Sequence[str],
  ):
    """Keeps `load`.

    Args:
      load: returns the images [N, h, w] and labels [N], both uint8, of a split.
      splits: the splits that there are.
    """
    super().__init__(splits=splits, caching_permitted=False)
    self._load = load

  @property
  def supports_arbitrary_sharding(self) -> bool:
    return True

  def list_shards(self, split: str) -> Sequence[str]:
    return [split]

  def get_dataset(
      self,
      split: str = 'train',
      shuffle: bool = True,
      seed: int | tf.Tensor | None = None,
      shard_info: seqio.ShardInfo | None = None,
      **unused_kwargs,
  ) -> tf.data.Dataset:
    """Returns one shard's examples, as `sources` describes them.

    Args:
      split: which split to load.
      shuffle: whether to give the shard's examples in random order.
      seed: what the order depends on; without it every call gives another.
      shard_info: every `num_shards`-th example is the shard's; default all.
    """
    images, labels = self._load(split)
    shard_info = shard_info or seqio.ShardInfo(0, 1)
    positions = range(shard_info.index, len(labels), shard_info.num_shards)
    if seed is None:
      seed = np.random.randint(2**31)
    # Whoever builds an epoch inside a TensorFlow function shares these arrays
    # instead of copying them into the function as constants.
    with tf.init_scope():
      images = tf.constant(images[..., None])
      labels = tf.constant(labels, tf.int64)

    def example(index: tf.Tensor) -> dict[str, tf.Tensor]:
      if shuffle:
        # A random permutation without a buffer: all that a checkpoint has to
        # keep is how far it came.
        index = tf.random.experimental.index_shuffle(
            index, tf.stack([seed, 0]), len(positions) - 1
        )
      position = positions.start + positions.step * index
      # Uncompressed, since it is decoded again at once.
      image = tf.io.encode_png(images[position], compression=0)
      return {'image': image, 'label': labels[position][None]}

    indices = tf.data.Dataset.range(len(positions))
    return indices.map(example, num_parallel_calls=tf.data.AUTOTUNE)
