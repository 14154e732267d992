"""Single image files, as a model takes them."""

from collections.abc import Sequence
import os

import numpy as np
from pax_softmoe.data.ops import image_ops
from pax_softmoe.data.ops import pictures
from pax_softmoe.data.read import tf_errors
import tensorflow as tf


def read(
    path: os.PathLike,
    *,
    image_size: int,
    channels: int,
    ops: Sequence[image_ops.ImageOp],
) -> np.ndarray:
  """Reads one image.

  Args:
    path: of a picture, see `pictures`.
    image_size: height and width in pixels that the model takes.
    channels: 1 turns colours into grey, 3 repeats a grey channel.
    ops: what to do with it, as in evaluation. If they leave it in another size,
      it is resized first, without keeping its aspect ratio.

  Returns:
    [image_size, image_size, channels] float32.

  Raises:
    ValueError: the file is missing or no image.
  """
  seed = tf.zeros([2], tf.int32)
  try:
    encoded = tf.io.read_file(os.fspath(path)).numpy()
    plain = pictures.normalise(encoded).data
    decoded = image_ops.decode(tf.constant(plain), channels)
  except (tf.errors.OpError, ValueError) as error:
    is_tf = isinstance(error, tf.errors.OpError)
    reason = tf_errors.reason(error) if is_tf else error
    raise ValueError(
        f'{path} cannot be read as an image: {reason}; save or copy it again'
    ) from error
  try:
    image = image_ops.apply_ops(decoded, ops, seed)
  except tf.errors.InvalidArgumentError:
    image = decoded  # Too small to crop.
  shape = (image_size, image_size, channels)
  if image.shape != shape or image.dtype != tf.float32:
    resized = image_ops.Resize(image_size)(decoded, seed)
    image = image_ops.apply_ops(resized, ops, seed)
  return image.numpy().astype(np.float32)
