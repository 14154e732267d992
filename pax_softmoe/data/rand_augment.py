"""RandAugment (arXiv 1909.13719) with stateless seeds, in TensorFlow.

Operations, and what a magnitude means to each, are those of the code that the
official V-MoE recipes call (`autoaugment.py` of tensorflow/tpu and big_vision),
with L the magnitude divided by 10, which may be above 1:

  AutoContrast, Equalize, Invert             L has no effect
  Rotate       30 L degrees, either way      Posterize  keeps int(4 L) bits
  Shear X, Y   0.3 L, either way             Solarize   from int(256 L) on
  Translate    100 L pixels, either way      Cutout     2 int(40 L) pixels square
  Color, Contrast, Brightness, Sharpness     1.8 L + 0.1 of the image
  SolarizeAdd  int(110 L) to values below 128

Pixels that come from outside the image are grey (128). The level of no contrast
is the number of pixels over 256, at most 255, where PIL takes the mean; no other
operation differs from PIL's by more than rounding. Past its end a scale does
nothing: at magnitude 20 Solarize and Posterize leave images as they are.

Letters: h height and w width in pixels, c channels (1 grey, 3 colour).
"""

from collections.abc import Callable
import dataclasses
import math

import tensorflow as tf

_GREY = 128


@dataclasses.dataclass(frozen=True)
class RandAugment:
  """Applies `num_ops` random operations, one after the other.

  Takes [h, w, c] of uint8, or of floats in the same units, whose fractions it
  cuts off; returns [h, w, c] uint8.

  Attributes:
    num_ops: how many operations; any may come again.
    magnitude: strength of all of them, 10 for that of AutoAugment's scale; may
      be more.
  """

  num_ops: int = 2
  magnitude: float = 10

  def __post_init__(self):
    if self.num_ops < 1 or self.magnitude < 0:
      raise ValueError(
          f'{self}: num_ops must be at least 1 and magnitude at least 0'
      )

  def __call__(self, image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    image = tf.cast(image, tf.uint8)
    shape = image.shape
    for layer in range(self.num_ops):
      layer_seed = _fold(seed, layer)
      image = tf.switch_case(
          _uniform(_fold(layer_seed, 0), len(OPS)),
          [
              lambda op=op: op(image, self.magnitude / 10, layer_seed)
              for op in OPS.values()
          ],
      )
      # The branches forget what they were given.
      image = tf.ensure_shape(image, shape)
    return image


def _fold(seed: tf.Tensor, number: int) -> tf.Tensor:
  return tf.random.experimental.stateless_fold_in(seed, number)


def _uniform(seed: tf.Tensor, end: int | tf.Tensor) -> tf.Tensor:
  """Returns a number in [0, end), int32 []."""
  return tf.random.stateless_uniform([], seed, 0, end, tf.int32)


def _sign(seed: tf.Tensor) -> tf.Tensor:
  """Returns 1 or -1, float32 []."""
  return tf.cast(2 * _uniform(_fold(seed, 1), 2) - 1, tf.float32)


def _blend(image: tf.Tensor, other: tf.Tensor, level: float) -> tf.Tensor:
  """Moves `image` away from `other`; both [h, w, c] or broadcast to it."""
  image, other = (tf.cast(x, tf.float32) for x in (image, other))
  mixed = other + (1.8 * level + 0.1) * (image - other)
  return tf.cast(tf.clip_by_value(mixed, 0, 255), tf.uint8)


def _grey(image: tf.Tensor) -> tf.Tensor:
  """Returns [h, w, 1] uint8."""
  return image if image.shape[-1] == 1 else tf.image.rgb_to_grayscale(image)


def _auto_contrast(image, level, seed):
  del level, seed
  pixels = tf.cast(image, tf.float32)
  low = tf.reduce_min(pixels, [0, 1])
  extent = tf.reduce_max(pixels, [0, 1]) - low
  scale = 255 / tf.maximum(extent, 1)
  # As in PIL, which cuts fractions off a sum of these two.
  stretched = tf.clip_by_value(pixels * scale + -low * scale, 0, 255)
  return tf.where(extent > 0, tf.cast(stretched, tf.uint8), image)


def _equalize(image, level, seed):
  del level, seed

  def equalize(channel: tf.Tensor) -> tf.Tensor:
    values = tf.cast(channel, tf.int32)
    counts = tf.math.bincount(tf.reshape(values, [-1]), minlength=256)
    step = (tf.size(values) - counts[tf.reduce_max(values)]) // 255
    below = tf.cumsum(counts, exclusive=True)
    table = (below + step // 2) // tf.maximum(step, 1)
    table = tf.cast(tf.clip_by_value(table, 0, 255), tf.uint8)
    return tf.where(step > 0, tf.gather(table, values), channel)

  return tf.stack([equalize(c) for c in tf.unstack(image, axis=-1)], axis=-1)


def _invert(image, level, seed):
  del level, seed
  return 255 - image


def _posterize(image, level, seed):
  del seed
  return image & (256 - 2 ** max(0, 8 - int(4 * level)))


def _solarize(image, level, seed):
  del seed
  threshold = int(256 * level)
  return tf.where(tf.cast(image, tf.int32) < threshold, image, 255 - image)


def _solarize_add(image, level, seed):
  del seed
  added = tf.cast(image, tf.int32) + int(110 * level)
  added = tf.cast(tf.minimum(added, 255), tf.uint8)
  return tf.where(image < 128, added, image)


def _color(image, level, seed):
  del seed
  return _blend(image, _grey(image), level)


def _contrast(image, level, seed):
  del seed
  pixels = tf.cast(tf.size(image[..., 0]), tf.float32)
  return _blend(image, tf.floor(tf.minimum(pixels / 256, 255)), level)


def _brightness(image, level, seed):
  del seed
  return _blend(image, 0, level)


def _sharpness(image, level, seed):
  del seed
  kernel = tf.constant([[1.0, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
  channels = image.shape[-1]
  kernel = tf.tile(kernel[..., None, None], [1, 1, channels, 1])
  smooth = tf.nn.depthwise_conv2d(
      tf.cast(image, tf.float32)[None], kernel, [1, 1, 1, 1], 'VALID'
  )[0]
  smooth = tf.cast(tf.clip_by_value(smooth, 0, 255), tf.uint8)
  # The border stays as it is.
  inner = tf.ones_like(smooth, tf.bool)
  border = [[1, 1], [1, 1], [0, 0]]
  smooth = tf.where(tf.pad(inner, border), tf.pad(smooth, border), image)
  return _blend(image, smooth, level)


def _transform(image: tf.Tensor, matrix: list) -> tf.Tensor:
  """Takes the pixel (x, y) from (a x + b y + c, d x + e y + f), the nearest.

  Args:
    image: [h, w, c] uint8.
    matrix: a, b, c, d, e, f in pixels.
  """
  transform = tf.stack([tf.cast(x, tf.float32) for x in [*matrix, 0, 0]])
  return tf.raw_ops.ImageProjectiveTransformV3(
      images=image[None],
      transforms=transform[None],
      output_shape=tf.shape(image)[:2],
      fill_value=float(_GREY),
      interpolation='NEAREST',
      fill_mode='CONSTANT',
  )[0]


def _rotate(image, level, seed):
  angle = _sign(seed) * 30 * level * math.pi / 180
  sine, cosine = tf.sin(angle), tf.cos(angle)
  x, y = (tf.cast(tf.shape(image)[i] - 1, tf.float32) / 2 for i in (1, 0))
  # The centre stays where it is.
  shift_x = x - cosine * x + sine * y
  shift_y = y - sine * x - cosine * y
  return _transform(image, [cosine, -sine, shift_x, sine, cosine, shift_y])


def _shear_x(image, level, seed):
  return _transform(image, [1, _sign(seed) * 0.3 * level, 0, 0, 1, 0])


def _shear_y(image, level, seed):
  return _transform(image, [1, 0, 0, _sign(seed) * 0.3 * level, 1, 0])


def _translate_x(image, level, seed):
  return _transform(image, [1, 0, _sign(seed) * 100 * level, 0, 1, 0])


def _translate_y(image, level, seed):
  return _transform(image, [1, 0, 0, 0, 1, _sign(seed) * 100 * level])


def _cutout(image, level, seed):
  reach = int(40 * level)

  def is_cut(axis: int) -> tf.Tensor:
    """Returns which of the positions along an axis are, [size] bool."""
    size = tf.shape(image)[axis]
    centre = _uniform(_fold(seed, 2 + axis), size)
    positions = tf.range(size)
    return (positions >= centre - reach) & (positions < centre + reach)

  cut = is_cut(0)[:, None, None] & is_cut(1)[None, :, None]
  return tf.where(cut, tf.constant(_GREY, tf.uint8), image)


# Each is called as op(image [h, w, c] uint8, L, seed [2] int32).
OPS: dict[str, Callable[[tf.Tensor, float, tf.Tensor], tf.Tensor]] = {
    'AutoContrast': _auto_contrast,
    'Equalize': _equalize,
    'Invert': _invert,
    'Rotate': _rotate,
    'Posterize': _posterize,
    'Solarize': _solarize,
    'Color': _color,
    'Contrast': _contrast,
    'Brightness': _brightness,
    'Sharpness': _sharpness,
    'ShearX': _shear_x,
    'ShearY': _shear_y,
    'TranslateX': _translate_x,
    'TranslateY': _translate_y,
    'Cutout': _cutout,
    'SolarizeAdd': _solarize_add,
}
