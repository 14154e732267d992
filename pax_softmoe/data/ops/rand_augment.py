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

Most of them work on rows of w c numbers, [h, w c], and on bits, since TensorFlow
is slow at arrays whose last axis is short, and at `tf.where`. And they are few
nodes of TensorFlow's graph: those of operations that are not chosen cost too.

Letters: h height and w width in pixels, c channels (1 grey, 3 colour).
"""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import math

import numpy as np
import tensorflow as tf

_GREY = 128
# Weights of red, green and blue in `tf.image.rgb_to_grayscale`.
_LUMA = (0.2989, 0.5870, 0.1140)


@dataclasses.dataclass(frozen=True)
class Chance:
  """What chance decides of an operation that was chosen.

  Attributes:
    sign: 1 or -1, float32 [].
    place: two float32 [] in [0, 1).
  """

  sign: tf.Tensor
  place: Sequence[tf.Tensor]


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
    draws = tf.random.stateless_uniform([self.num_ops, 4], seed)
    for draw in tf.unstack(draws):
      choice, side, *place = tf.unstack(draw)
      chance = Chance(2 * tf.floor(2 * side) - 1, place)
      image = tf.switch_case(
          tf.cast(choice * len(OPS), tf.int32),
          [
              lambda op=op: op(image, self.magnitude / 10, chance)
              for op in OPS.values()
          ],
      )
      # The branches forget what they were given.
      image = tf.ensure_shape(image, shape)
    return image


def _shape(image: tf.Tensor) -> Sequence[int | tf.Tensor]:
  """Returns h, w and c, without TensorFlow if they are known."""
  if image.shape.is_fully_defined():
    return image.shape.as_list()
  return [*tf.unstack(tf.shape(image)[:2]), image.shape[-1]]


def _rows(image: tf.Tensor) -> tf.Tensor:
  """Returns [h, w c] of [h, w, c]."""
  h, w, c = _shape(image)
  return tf.reshape(image, [h, w * c])


def _like(rows: tf.Tensor, image: tf.Tensor) -> tf.Tensor:
  """Returns [h, w c] in the shape of the image."""
  return tf.reshape(rows, _shape(image))


def _blend(image: tf.Tensor, other: tf.Tensor, level: float) -> tf.Tensor:
  """Moves `image` away from `other`; both of one shape, or `other` []."""
  image, other = (tf.cast(x, tf.float32) for x in (image, other))
  mixed = other + (1.8 * level + 0.1) * (image - other)
  return tf.cast(tf.clip_by_value(mixed, 0, 255), tf.uint8)


def _auto_contrast(image, level, chance):
  del level, chance
  rows, (_, w, c) = _rows(image), _shape(image)

  def of_channels(reduce: Callable[..., tf.Tensor]) -> tf.Tensor:
    """Returns [c] float32."""
    return tf.cast(reduce(tf.reshape(reduce(rows, 0), [w, c]), 0), tf.float32)

  low = of_channels(tf.reduce_min)
  extent = of_channels(tf.reduce_max) - low
  # What has one value only stays as it is.
  is_flat = extent == 0
  scale = tf.where(is_flat, 1.0, 255 / extent)
  low = tf.where(is_flat, 0.0, low)
  # As in PIL, which cuts fractions off a sum of these two.
  scale, shift = (tf.tile(x, [w]) for x in (scale, -low * scale))
  stretched = tf.cast(rows, tf.float32) * scale + shift
  stretched = tf.cast(tf.clip_by_value(stretched, 0, 255), tf.uint8)
  return _like(stretched, image)


def _equalize(image, level, chance):
  del level, chance
  h, w, c = _shape(image)
  # The c tables of 256 values are one, of which each channel has its part.
  values = tf.cast(_rows(image), tf.int32) + tf.tile(256 * tf.range(c), [w])
  counts = tf.math.bincount(tf.reshape(values, [-1]), minlength=256 * c)
  below = tf.cumsum(tf.reshape(counts, [c, 256]), axis=1, exclusive=True)
  # All pixels but those of the brightest value.
  darker = below * tf.cast(below < h * w, tf.int32)
  step = tf.reduce_max(darker, axis=1, keepdims=True) // 255
  table = tf.minimum((below + step // 2) // tf.maximum(step, 1), 255)
  table = tf.where(step > 0, table, tf.range(256))
  table = tf.reshape(tf.cast(table, tf.uint8), [-1])
  return _like(tf.gather(table, values), image)


def _invert(image, level, chance):
  del level, chance
  return 255 - image


def _posterize(image, level, chance):
  del chance
  return image & (256 - 2 ** max(0, 8 - int(4 * level)))


def _solarize(image, level, chance):
  del chance
  threshold = int(256 * level)
  if threshold > 255:
    return image
  # 255 - x has all bits of x the other way round.
  return image ^ (255 * tf.cast(image >= threshold, tf.uint8))


def _solarize_add(image, level, chance):
  del chance
  added = min(int(110 * level), 255)
  added = tf.minimum(255 - image, tf.constant(added, tf.uint8))
  return image + added * tf.cast(image < 128, tf.uint8)


def _color(image, level, chance):
  del chance
  if image.shape[-1] == 1:
    return _blend(image, image, level)
  # As `tf.image.rgb_to_grayscale` rounds, and in all channels at once.
  weights = tf.constant(_LUMA)[:, None] * (255.5 / 255) * tf.ones([1, 3])
  pixels = tf.reshape(tf.cast(image, tf.float32), [-1, 3])
  grey = tf.floor(pixels @ weights)
  return _like(_blend(pixels, grey, level), image)


def _contrast(image, level, chance):
  del chance
  h, w, _ = _shape(image)
  return _blend(image, tf.minimum(h * w // 256, 255), level)


def _brightness(image, level, chance):
  del chance
  return _blend(image, 0, level)


def _sharpness(image, level, chance):
  del chance
  c = image.shape[-1]
  kernel = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32)
  kernel = tf.constant(np.tile(kernel[..., None, None], [1, 1, c, 1]))
  pixels = tf.expand_dims(tf.cast(image, tf.float32), 0)
  smooth = tf.nn.depthwise_conv2d(pixels, kernel, [1, 1, 1, 1], 'VALID')
  inner = _rows(image)[1:-1, c:-c]
  # Sums are whole numbers; the fraction of their 13th part is cut off.
  smooth = tf.reshape(tf.floor(smooth / 13), tf.shape(inner))
  inner = _blend(inner, smooth, level)
  # The border stays as it is.
  rows = _rows(image)
  inner = tf.concat([rows[1:-1, :c], inner, rows[1:-1, -c:]], axis=1)
  return _like(tf.concat([rows[:1], inner, rows[-1:]], axis=0), image)


def _transform(
    image: tf.Tensor,
    both: Sequence[float | tf.Tensor],
    either: Sequence[float | tf.Tensor],
    chance: Chance,
) -> tf.Tensor:
  """Takes the pixel (x, y) from (a x + b y + c, d x + e y + f), the nearest.

  Args:
    image: [h, w, c] uint8.
    both: a, b, c, d, e, f in pixels.
    either: what is added to them or subtracted, as it falls.
    chance: its sign says which of these.
  """
  h, w, channels = _shape(image)
  grey = _GREY
  if channels == 3:
    # The three bytes of a pixel and a zero are one number, taken at once.
    # Numbers to fill with are float32, which holds three bytes exactly.
    image = tf.concat([image, tf.zeros([h, w, 1], tf.uint8)], axis=-1)
    image = tf.bitcast(image, tf.int32)
    grey *= 1 + 2**8 + 2**16
  both, either = (
      tf.cast(tf.convert_to_tensor([*row, 0.0, 0.0]), tf.float32)
      for row in (both, either)
  )
  image = tf.raw_ops.ImageProjectiveTransformV3(
      images=tf.reshape(image, [1, h, w, 1]),
      transforms=tf.expand_dims(both + chance.sign * either, 0),
      output_shape=[h, w],
      fill_value=float(grey),
      interpolation='NEAREST',
      fill_mode='CONSTANT',
  )
  if channels == 3:
    image = tf.bitcast(tf.reshape(image, [h, w]), tf.uint8)[..., :3]
  return tf.reshape(image, [h, w, channels])


def _rotate(image, level, chance):
  h, w, _ = _shape(image)
  angle = 30 * level * math.pi / 180
  sine, cosine = math.sin(angle), math.cos(angle)
  # The centre stays where it is.
  x, y = ((n - 1) / 2 for n in (w, h))
  return _transform(
      image,
      [cosine, 0.0, x - cosine * x, 0.0, cosine, y - cosine * y],
      [0.0, -sine, sine * y, sine, 0.0, -sine * x],
      chance,
  )


def _shear_x(image, level, chance):
  identity = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
  either = [0.0, 0.3 * level, 0.0, 0.0, 0.0, 0.0]
  return _transform(image, identity, either, chance)


def _shear_y(image, level, chance):
  identity = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
  either = [0.0, 0.0, 0.0, 0.3 * level, 0.0, 0.0]
  return _transform(image, identity, either, chance)


def _translate(
    image: tf.Tensor, axis: int, level: float, chance: Chance
) -> tf.Tensor:
  """Moves an image along an axis of its rows, either way."""
  h, w, c = _shape(image)
  size = [h, w * c]
  shift = tf.minimum(round(100 * level) * [1, c][axis], size[axis])
  extent = [shift, w * c] if axis == 0 else [h, shift]
  grey = tf.fill(extent, tf.constant(_GREY, tf.uint8))
  begin = shift * tf.cast(1 + chance.sign, tf.int32)
  begin = [begin, 0] if axis == 0 else [0, begin]
  rows = tf.slice(tf.concat([grey, _rows(image), grey], axis), begin, size)
  return _like(rows, image)


def _translate_x(image, level, chance):
  return _translate(image, 1, level, chance)


def _translate_y(image, level, chance):
  return _translate(image, 0, level, chance)


def _cutout(image, level, chance):
  reach = int(40 * level)
  h, w, c = _shape(image)

  def cut(size: int | tf.Tensor, unit: int, place: tf.Tensor) -> tf.Tensor:
    """Returns 255 for the numbers of pixels that are, [size unit] uint8."""
    centre = unit * tf.cast(place * tf.cast(size, tf.float32), tf.int32)
    # From -reach to reach - 1 pixels, made symmetric.
    away = 2 * (tf.range(size * unit) - centre) + 1
    return 255 * tf.cast(tf.abs(away) < 2 * reach * unit, tf.uint8)

  is_cut = tf.expand_dims(cut(h, 1, chance.place[0]), 1) & cut(
      w, c, chance.place[1]
  )
  # x ^ ((x ^ g) & m) is g where m is 255, and x where m is 0.
  rows = _rows(image)
  return _like(rows ^ ((rows ^ _GREY) & is_cut), image)


# Each is called as op(image [h, w, c] uint8, L, chance).
OPS: dict[str, Callable[[tf.Tensor, float, Chance], tf.Tensor]] = {
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
