"""Tests of decoding and augmentation on arrays that can be checked by eye."""

import numpy as np
from pax_softmoe.data.ops import image_ops
import pytest
import tensorflow as tf

SEEDS = [tf.constant([7, n], tf.int32) for n in range(40)]
SEED = SEEDS[0]


def grey(rows) -> tf.Tensor:
  """Returns rows of numbers as an [h, w, 1] uint8 image."""
  return tf.constant(np.array(rows)[..., None], tf.uint8)


def pixels(image: tf.Tensor) -> list:
  """Returns an [h, w, 1] image as rows of numbers."""
  return image.numpy()[..., 0].tolist()


COUNTING = grey(np.arange(1, 17).reshape(4, 4))


def test_decode_gives_the_pixels_of_a_png():
  image = grey([[0, 10, 255], [3, 4, 5]])
  decoded = image_ops.decode(tf.io.encode_png(image), channels=1)
  assert decoded.dtype == tf.uint8
  assert pixels(decoded) == [[0, 10, 255], [3, 4, 5]]


def test_decode_repeats_grey_when_asked_for_three_channels():
  decoded = image_ops.decode(tf.io.encode_png(COUNTING), channels=3)
  np.testing.assert_array_equal(decoded, np.repeat(COUNTING, 3, axis=-1))


def test_decode_makes_colour_grey_when_asked_for_one_channel():
  white_and_black = tf.constant([[[255] * 3, [0] * 3]], tf.uint8)
  decoded = image_ops.decode(tf.io.encode_png(white_and_black), channels=1)
  assert pixels(decoded) == [[255, 0]]


def test_flip_mirrors_about_half_of_the_images():
  image = grey([[1, 2, 3], [4, 5, 6]])
  results = [pixels(image_ops.FlipLeftRight()(image, seed)) for seed in SEEDS]
  kept = results.count([[1, 2, 3], [4, 5, 6]])
  mirrored = results.count([[3, 2, 1], [6, 5, 4]])
  assert kept + mirrored == len(SEEDS)
  assert min(kept, mirrored) > len(SEEDS) / 4


def test_center_crop_takes_the_middle():
  assert pixels(image_ops.CenterCrop(2)(COUNTING, SEED)) == [[6, 7], [10, 11]]


def test_center_crop_leaves_the_odd_pixel_at_the_bottom_and_right():
  crop = image_ops.CenterCrop(3)(COUNTING, SEED)
  assert pixels(crop) == [[1, 2, 3], [5, 6, 7], [9, 10, 11]]


def test_center_crop_refuses_an_image_that_is_too_small():
  crop = tf.function(
      image_ops.CenterCrop(5),
      input_signature=[
          tf.TensorSpec([None, None, 1], tf.uint8),
          tf.TensorSpec([2], tf.int32),
      ],
  )
  with pytest.raises(tf.errors.InvalidArgumentError):
    crop(COUNTING, SEED)


def test_value_range_maps_black_and_white_to_its_ends():
  image = grey([[0, 51, 255]])
  result = image_ops.ValueRange(-1.0, 1.0)(image, SEED)
  assert result.dtype == tf.float32
  np.testing.assert_allclose(pixels(result), [[-1.0, -0.6, 1.0]], atol=1e-6)
  result = image_ops.ValueRange(0.0, 5.0)(image, SEED)
  np.testing.assert_allclose(pixels(result), [[0.0, 1.0, 5.0]], atol=1e-6)


def test_pad_crop_shifts_the_image_by_up_to_the_padding():
  padded = np.pad(COUNTING[..., 0], 1)
  shifts = {
      (y, x): padded[y : y + 4, x : x + 4].tolist()
      for y in range(3)
      for x in range(3)
  }
  results = [pixels(image_ops.PadCrop(1)(COUNTING, seed)) for seed in SEEDS]
  seen = {s for s, shifted in shifts.items() if shifted in results}
  assert all(result in shifts.values() for result in results)
  assert len(seen) > 6


def test_inception_crop_has_its_size_and_stays_within_the_values():
  image = tf.constant(
      np.random.RandomState(0).randint(50, 200, (20, 30, 3)), tf.uint8
  )
  for seed in SEEDS:
    crop = image_ops.InceptionCrop(8)(image, seed)
    assert crop.shape == (8, 8, 3)
    assert crop.dtype == tf.float32
    assert 50 <= crop.numpy().min() <= crop.numpy().max() < 200


def test_inception_crop_of_the_whole_area_is_the_image():
  crop = image_ops.InceptionCrop(4, area=(1.0, 1.0))(COUNTING, SEED)
  assert pixels(crop) == pixels(COUNTING)


def test_inception_crop_covers_fractions_within_its_area():
  # Each pixel knows its place, so that extreme values give the crop's extent.
  y, x = np.meshgrid(np.arange(100), np.arange(100), indexing='ij')
  image = tf.constant(np.stack([y, x], -1), tf.uint8)
  op = image_ops.InceptionCrop(100, area=(0.2, 0.5))
  fractions = []
  for seed in SEEDS:
    crop = op(image, seed).numpy()
    fractions.append(np.prod(np.ptp(crop, axis=(0, 1)) + 1) / 100**2)
  assert 0.18 < min(fractions) < 0.3
  assert 0.4 < max(fractions) < 0.52


def whole_jpeg(image):
  return tf.io.encode_jpeg(image, chroma_downsampling=False)


@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize(
    'encode', [whole_jpeg, tf.io.encode_jpeg, tf.io.encode_png]
)
def test_crop_of_a_file_equals_crop_of_its_pixels(encode, channels):
  # Sides that are no multiples of the blocks of a JPEG.
  image = np.random.RandomState(0).randint(0, 255, (61, 83, 3)).astype(np.uint8)
  encoded = encode(image)
  ops = image_ops.InceptionCrop(16), image_ops.FlipLeftRight()
  decoded = image_ops.decode(encoded, channels)
  for seed in SEEDS[:20]:
    got = image_ops.decode_and_apply(encoded, channels, ops, seed)
    want = image_ops.apply_ops(decoded, ops, seed)
    assert got.shape == (16, 16, channels)
    if encode is tf.io.encode_jpeg and channels == 3:
      # Colours of half the resolution end at the crop, where a small one is
      # enlarged by up to a few pixels.
      got, want = got[6:-6, 6:-6], want[6:-6, 6:-6]
    np.testing.assert_array_equal(got, want)


def test_resize_small_averages_and_keeps_the_aspect_ratio():
  image = grey([[0, 2, 10, 10, 0, 0], [4, 6, 10, 10, 0, 40]])
  result = image_ops.ResizeSmall(1)(image, SEED)
  assert result.dtype == tf.float32
  assert pixels(result) == [[3.0, 10.0, 10.0]]


def test_resize_gives_a_square():
  result = image_ops.Resize(2)(
      tf.fill([6, 4, 3], tf.constant(9, tf.uint8)), SEED
  )
  np.testing.assert_array_equal(result, np.full([2, 2, 3], 9.0, np.float32))


@pytest.mark.parametrize(
    'op',
    [
        image_ops.InceptionCrop(3),
        image_ops.PadCrop(2),
        image_ops.FlipLeftRight(),
    ],
)
def test_random_op_repeats_itself_for_a_seed_and_varies_with_it(op):
  results = [op(COUNTING, seed).numpy().tobytes() for seed in SEEDS]
  again = [op(COUNTING, seed).numpy().tobytes() for seed in SEEDS]
  assert results == again
  assert len(set(results)) > 1


def test_apply_ops_gives_equal_ops_different_seeds():
  seeds = []
  record = lambda image, seed: (seeds.append(seed.numpy().tolist()), image)[1]
  image_ops.apply_ops(COUNTING, [record, record], SEED)
  assert seeds[0] != seeds[1]
  assert SEED.numpy().tolist() not in seeds


@pytest.mark.parametrize(
    'make, message',
    [
        (lambda: image_ops.InceptionCrop(0), r'size must be at least 1 pixel'),
        (lambda: image_ops.PadCrop(0), r'padding must be at least 1 pixel'),
        (lambda: image_ops.Resize(-2), r'size must be at least 1 .* not -2'),
        (lambda: image_ops.InceptionCrop(8, (0.5, 0.1)), r'low <= high'),
        (lambda: image_ops.InceptionCrop(8, (0, 1)), r'0 < low'),
        (lambda: image_ops.ValueRange(1.0, 1.0), r'low must be less'),
    ],
)
def test_op_refuses_settings_that_make_no_sense(make, message):
  with pytest.raises(ValueError, match=message):
    make()
