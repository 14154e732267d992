"""Decoding and augmentation of single images, in TensorFlow.

An operation is a frozen dataclass that is called as `op(image, seed)`:

  image  [h, w, c] uint8, or float32 in the same 0..255 units
  seed   [2] int32, the only source of randomness: the same image and seed give
         the same result, on every host and after every restart

Letters: h height and w width in pixels, c channels (1 grey, 3 colour).
"""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses

from pax_softmoe.data.ops import pictures
from pax_softmoe.data.ops import rand_augment
import tensorflow as tf

RandAugment = rand_augment.RandAugment
ImageOp = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


# An orientation other than upright, as EXIF of either byte order has it.
_TURNED = (
    r'(?s)\C*(?:\x12\x01\x03\x00\x01\x00\x00\x00[\x02-\x08]'
    r'|\x01\x12\x00\x03\x00\x00\x00\x01\x00[\x02-\x08])\C*'
)
_NOT_PLAIN_PNG = r'(?s)\C*(?:tRNS|eXIf)\C*'
# Where cameras write it; EXIF comes first in a file.
_HEAD = 4096


def normalise(encoded: tf.Tensor) -> tf.Tensor:
  """Returns a file that TensorFlow reads as a viewer does, [] string.

  Plain files come back as they are, at the cost of a look at their first bytes.
  Only others are left to `pictures.normalise`, in Python.

  Args:
    encoded: [] string, the bytes of a file; what is no picture becomes ''.
  """
  # With an end, so that there are bytes where a header has some.
  head = tf.strings.join([tf.strings.substr(encoded, 0, _HEAD), ' ' * 32])
  matches = tf.strings.regex_full_match
  # Bits of a channel, and grey or colour without transparency.
  kind = tf.strings.substr(head, 24, 2)
  is_plain_png = (
      (tf.strings.substr(head, 0, 4) == b'\x89PNG')
      & ((kind == b'\x08\x00') | (kind == b'\x08\x02'))
      & ~matches(head, _NOT_PLAIN_PNG)
  )

  def is_plain_jpeg():
    is_cmyk = tf.io.extract_jpeg_shape(encoded)[2] == 4
    return ~(is_cmyk | matches(head, _TURNED))

  is_plain = tf.cond(
      tf.io.is_jpeg(encoded), is_plain_jpeg, lambda: is_plain_png
  )
  result = tf.cond(
      is_plain,
      lambda: encoded,
      lambda: tf.numpy_function(_normalised, [encoded], tf.string),
  )
  return tf.ensure_shape(result, [])


def _normalised(encoded: bytes) -> bytes:
  # TensorFlow prints what is raised here at length; decoding '' raises too.
  try:
    return pictures.normalise(encoded).data
  except ValueError:
    return b''


def decode(encoded: tf.Tensor, channels: int) -> tf.Tensor:
  """Decodes one picture as a viewer shows it, see `pictures`.

  Args:
    encoded: [] string, the bytes of the file.
    channels: 1 turns colours into grey, 3 repeats a grey channel.

  Returns:
    [h, w, channels] uint8.

  Raises:
    tf.errors.InvalidArgumentError: when run, if the bytes are no picture.
  """
  return _decode(normalise(encoded), channels)


def _decode(plain: tf.Tensor, channels: int) -> tf.Tensor:
  """Does what `decode` says, with what `normalise` returned."""
  image = tf.io.decode_image(plain, channels, expand_animations=False)
  image.set_shape([None, None, channels])
  return image


def apply_ops(
    image: tf.Tensor, ops: Sequence[ImageOp], seed: tf.Tensor
) -> tf.Tensor:
  """Applies `ops` in order, each with its own seed made from `seed` ([2])."""
  for index, op in enumerate(ops):
    image = op(image, tf.random.experimental.stateless_fold_in(seed, index))
  return image


def decode_and_apply(
    encoded: tf.Tensor,
    channels: int,
    ops: Sequence[ImageOp],
    seed: tf.Tensor,
) -> tf.Tensor:
  """Returns `apply_ops` of what `decode` gives.

  Of a JPEG whose first operation is an `InceptionCrop` only the crop is decoded,
  as in the official code. The pixels are the same, but that colours of lower
  resolution, as most JPEGs have, are not interpolated across the crop's edge.

  Args:
    encoded: [] string, see `decode`.
    channels: see `decode`.
    ops: in order.
    seed: [2] int32.
  """
  encoded = normalise(encoded)
  first = ops[0] if ops else None
  if not isinstance(first, InceptionCrop):
    return apply_ops(_decode(encoded, channels), ops, seed)

  def crop(image: tf.Tensor | None, seed: tf.Tensor) -> tf.Tensor:
    del image
    return tf.cond(
        tf.io.is_jpeg(encoded),
        lambda: first.of_jpeg(encoded, channels, seed),
        lambda: first(_decode(encoded, channels), seed),
    )

  return apply_ops(None, (crop, *ops[1:]), seed)


# How many times as long as wide an image may be for `ResizeSmall`.
_LONGEST = 16


def _check_positive(op: ImageOp, field: str) -> None:
  value = getattr(op, field)
  if value < 1:
    raise ValueError(f'{op}: {field} must be at least 1 pixel, not {value}')


def _resize(image: tf.Tensor, height, width, method: str) -> tf.Tensor:
  """Returns `image` as [height, width, c] float32, in the units it had."""
  image = tf.image.resize(image, [height, width], method)
  return tf.cast(image, tf.float32)


@dataclasses.dataclass(frozen=True)
class InceptionCrop:
  """Crops a random rectangle and resizes it to [size, size, c] float32.

  The rectangle covers a fraction of the image within `area`, with an aspect
  ratio of 3:4 to 4:3 ("Going deeper with convolutions", CVPR 2015, section 6).

  Attributes:
    size: height and width of the result in pixels.
    area: smallest and largest fraction of the image, 0 < low <= high <= 1.
  """

  size: int
  area: tuple[float, float] = (0.05, 1.0)

  def __post_init__(self):
    _check_positive(self, 'size')
    low, high = self.area
    if not 0 < low <= high <= 1:
      raise ValueError(f'{self}: area must be 0 < low <= high <= 1')

  def __call__(self, image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    begin, extent = self._rectangle(tf.shape(image), seed)
    channels = image.shape[-1]
    image = tf.slice(image, begin, extent)
    image.set_shape([None, None, channels])  # The slice forgets c.
    return _resize(image, self.size, self.size, 'bilinear')

  def of_jpeg(
      self, encoded: tf.Tensor, channels: int, seed: tf.Tensor
  ) -> tf.Tensor:
    """Returns the crop of an encoded JPEG; see `decode_and_apply`."""
    shape = tf.io.extract_jpeg_shape(encoded)
    begin, extent = self._rectangle(shape, seed)
    window = tf.concat([begin[:2], extent[:2]], axis=0)
    image = tf.io.decode_and_crop_jpeg(encoded, window, channels)
    return _resize(image, self.size, self.size, 'bilinear')

  def _rectangle(
      self, shape: tf.Tensor, seed: tf.Tensor
  ) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns its place and size, as `tf.slice` takes them."""
    begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
        shape,
        tf.zeros([0, 0, 4], tf.float32),
        seed,
        min_object_covered=0.0,
        aspect_ratio_range=(3 / 4, 4 / 3),
        area_range=self.area,
        use_image_if_no_bounding_boxes=True,
    )
    return begin, extent


@dataclasses.dataclass(frozen=True)
class PadCrop:
  """Adds a black border and crops the original size at a random place.

  Attributes:
    padding: width of the border in pixels, the largest shift of the content.
  """

  padding: int

  def __post_init__(self):
    _check_positive(self, 'padding')

  def __call__(self, image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    border = [self.padding, self.padding]
    padded = tf.pad(image, [border, border, [0, 0]])
    crop = tf.image.stateless_random_crop(padded, tf.shape(image), seed)
    return tf.ensure_shape(crop, image.shape)


@dataclasses.dataclass(frozen=True)
class FlipLeftRight:
  """Mirrors left and right with probability 1/2; shape and dtype stay."""

  def __call__(self, image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    return tf.image.stateless_random_flip_left_right(image, seed)


@dataclasses.dataclass(frozen=True)
class ResizeSmall:
  """Resizes the shorter side to `size` pixels and keeps the aspect ratio.

  Averages the pixels that fall together, as the official Soft MoE evaluation
  does (`resize_small` of vmoe's `data/pp_ops.py`). Returns float32.

  Of an image that is more than 16 times as long as it is wide only the middle
  is kept, 16 times as long: all of a line of 1 x 2000 pixels would fill
  memory, and what comes next cuts out the centre anyway.

  Attributes:
    size: length of the shorter side of the result in pixels.
  """

  size: int

  def __post_init__(self):
    _check_positive(self, 'size')

  def __call__(self, image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    del seed
    channels = image.shape[-1]
    sides = tf.shape(image)[:2]
    # The same number of pixels on both sides, so that the centre stays one.
    excess = tf.maximum(sides - _LONGEST * tf.reduce_min(sides), 0) // 2
    image = image[
        excess[0] : sides[0] - excess[0], excess[1] : sides[1] - excess[1]
    ]
    image.set_shape([None, None, channels])
    sides = tf.shape(image)[:2]
    scale = self.size / tf.reduce_min(sides)
    sides = tf.cast(tf.round(tf.cast(sides, scale.dtype) * scale), tf.int32)
    return _resize(image, sides[0], sides[1], 'area')


@dataclasses.dataclass(frozen=True)
class CenterCrop:
  """Cuts [size, size, c] out of the centre; dtype stays.

  An odd rest leaves its extra pixel at the bottom and the right. When run on
  an image with a side shorter than `size` it raises
  tf.errors.InvalidArgumentError: put a `ResizeSmall` before it.

  Attributes:
    size: height and width of the result in pixels.
  """

  size: int

  def __post_init__(self):
    _check_positive(self, 'size')

  def __call__(self, image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    del seed
    top = (tf.shape(image)[0] - self.size) // 2
    left = (tf.shape(image)[1] - self.size) // 2
    return tf.image.crop_to_bounding_box(image, top, left, self.size, self.size)


@dataclasses.dataclass(frozen=True)
class Resize:
  """Resizes to [size, size, c] float32, without keeping the aspect ratio.

  Attributes:
    size: height and width of the result in pixels.
  """

  size: int

  def __post_init__(self):
    _check_positive(self, 'size')

  def __call__(self, image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    del seed
    return _resize(image, self.size, self.size, 'bilinear')


@dataclasses.dataclass(frozen=True)
class ValueRange:
  """Maps pixel values linearly from 0..255 to low..high, as float32.

  Attributes:
    low: what black (0) becomes.
    high: what white (255) becomes.
  """

  low: float = -1.0
  high: float = 1.0

  def __post_init__(self):
    if not self.low < self.high:
      raise ValueError(f'{self}: low must be less than high')

  def __call__(self, image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    del seed
    return tf.cast(image, tf.float32) / 255 * (self.high - self.low) + self.low
