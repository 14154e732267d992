"""RandAugment against Pillow, whose operations it names, and by hand."""

import numpy as np
from pax_softmoe.data.ops import image_ops
from pax_softmoe.data.ops import rand_augment
from PIL import Image
from PIL import ImageEnhance
from PIL import ImageOps
import pytest
import tensorflow as tf

SEEDS = [tf.constant([7, n], tf.int32) for n in range(40)]
# What chance decides of an operation.
CHANCES = [
    rand_augment.Chance(
        tf.constant((-1.0) ** n),
        tf.unstack(tf.random.stateless_uniform([2], seed)),
    )
    for n, seed in enumerate(SEEDS)
]
CHANCE = CHANCES[0]
PHOTO = np.random.RandomState(0).randint(30, 200, (24, 31, 3)).astype(np.uint8)


def enhance(enhancer):
  # From level 10 on the factor is 1.9, and 3.7 at 20.
  return lambda image, level: enhancer(image).enhance(1.8 * level + 0.1)


PILLOW = {
    'AutoContrast': lambda image, level: ImageOps.autocontrast(image),
    'Equalize': lambda image, level: ImageOps.equalize(image),
    'Invert': lambda image, level: ImageOps.invert(image),
    'Posterize': lambda image, level: ImageOps.posterize(image, int(4 * level)),
    'Solarize': lambda image, level: ImageOps.solarize(image, int(256 * level)),
    'Color': enhance(ImageEnhance.Color),
    'Brightness': enhance(ImageEnhance.Brightness),
    'Sharpness': enhance(ImageEnhance.Sharpness),
}


@pytest.mark.parametrize('level', [0.3, 1.0, 2.0])
@pytest.mark.parametrize('name', PILLOW)
def test_operation_equals_pillow(name, level):
  got = rand_augment.OPS[name](tf.constant(PHOTO), level, CHANCE)
  want = np.asarray(PILLOW[name](Image.fromarray(PHOTO), level))
  assert got.dtype == tf.uint8
  # Grey levels and averages are cut off here and rounded there, and the factor
  # enlarges that.
  slack = 4 if name in ('Color', 'Sharpness') else 1
  difference = np.abs(got.numpy().astype(int) - want)
  assert difference.max() <= slack
  assert difference.mean() < 1


def grey(rows):
  return tf.constant(np.array(rows, np.uint8)[..., None])


def apply(name, image, level, chance=CHANCE):
  return rand_augment.OPS[name](image, level, chance).numpy()[..., 0].tolist()


@pytest.mark.parametrize('name', ['Rotate', 'ShearX', 'ShearY', 'Sharpness'])
def test_channels_do_not_mix(name):
  """In colour, three of them are computed at once."""
  got = rand_augment.OPS[name](tf.constant(PHOTO), 0.7, CHANCE)
  for i in range(3):
    channel = tf.constant(PHOTO[..., i : i + 1])
    want = rand_augment.OPS[name](channel, 0.7, CHANCE)
    np.testing.assert_array_equal(got[..., i], want[..., 0])


def test_channel_of_one_value_is_neither_stretched_nor_equalized():
  image = PHOTO.copy()
  image[..., 1] = 77
  for name in ('AutoContrast', 'Equalize'):
    got = rand_augment.OPS[name](tf.constant(image), 1, CHANCE).numpy()
    assert (got[..., 1] == 77).all()
    assert (got[..., 0] != image[..., 0]).any()


def test_contrast_moves_away_from_pixels_over_256():
  # 512 pixels: a level of 2. At 10 the factor is 1.9: 2 + 1.9 (x - 2).
  image = tf.constant(np.full([16, 32, 1], 12), tf.uint8)
  assert {v for row in apply('Contrast', image, 1) for v in row} == {21}


def test_solarize_add_leaves_bright_pixels_and_stops_at_white():
  assert apply('SolarizeAdd', grey([[0, 40, 127, 128]]), 1) == [
      [110, 150, 237, 128]
  ]
  assert apply('SolarizeAdd', grey([[0, 40, 127, 128]]), 2) == [
      [220, 255, 255, 128]
  ]


def test_posterize_and_solarize_end_at_the_whole_image():
  image = grey([[0, 1, 127, 255]])
  for level in (2, 3):
    assert apply('Posterize', image, level) == [[0, 1, 127, 255]]
    assert apply('Solarize', image, level) == [[0, 1, 127, 255]]


def both_ways(name, image, level):
  return {str(apply(name, image, level, chance)) for chance in CHANCES}


def test_translation_by_a_pixel_either_way_fills_with_grey():
  image = grey([[1, 2, 3], [4, 5, 6]])
  assert both_ways('TranslateX', image, 0.01) == {
      str([[2, 3, 128], [5, 6, 128]]),
      str([[128, 1, 2], [128, 4, 5]]),
  }
  assert both_ways('TranslateY', image, 0.01) == {
      str([[4, 5, 6], [128, 128, 128]]),
      str([[128, 128, 128], [1, 2, 3]]),
  }


def test_shear_moves_each_row_or_column_further_than_the_one_before():
  # 0.3 L = 1: row y is read from x + y, or from x - y.
  image = grey([[1, 2, 3], [4, 5, 6], [7, 8, 9]])
  assert both_ways('ShearX', image, 1 / 0.3) == {
      str([[1, 2, 3], [5, 6, 128], [9, 128, 128]]),
      str([[1, 2, 3], [128, 4, 5], [128, 128, 7]]),
  }
  assert both_ways('ShearY', image, 1 / 0.3) == {
      str([[1, 5, 9], [4, 8, 128], [7, 128, 128]]),
      str([[1, 128, 128], [4, 2, 128], [7, 5, 3]]),
  }


def test_rotation_by_a_right_angle_turns_about_the_centre():
  image = np.arange(9).reshape(3, 3)
  assert both_ways('Rotate', grey(image), 3) == {
      str(np.rot90(image).tolist()),
      str(np.rot90(image, -1).tolist()),
  }


def test_cutout_covers_a_square_that_may_reach_over_the_edge():
  image = tf.zeros([9, 9, 1], tf.uint8)
  centres = set()
  for chance in CHANCES:
    cut = rand_augment.OPS['Cutout'](image, 0.05, chance)
    cut = cut.numpy()[..., 0] == 128
    rows, columns = (np.flatnonzero(cut.any(axis)) for axis in (1, 0))
    assert cut.sum() == len(rows) * len(columns)
    assert 2 <= len(rows) <= 4 and 2 <= len(columns) <= 4
    centres.add((rows.max(), columns.max()))
  assert len(centres) > 15


@pytest.mark.parametrize('dtype', [tf.uint8, tf.float32])
@pytest.mark.parametrize('channels', [1, 3])
def test_every_operation_keeps_size_and_channels(channels, dtype):
  op = tf.function(
      image_ops.RandAugment(2, 20),
      input_signature=[
          tf.TensorSpec([None, None, channels], dtype),
          tf.TensorSpec([2], tf.int32),
      ],
  )
  image = tf.cast(PHOTO[..., :channels], dtype)
  results = {op(image, seed).numpy().tobytes() for seed in SEEDS}
  assert op(image, SEEDS[0]).shape == image.shape
  assert op(image, SEEDS[0]).dtype == tf.uint8
  # Of 16 x 16 pairs, some of which do nothing or leave nothing of this image.
  assert len(results) > 15
  again = {op(image, seed).numpy().tobytes() for seed in SEEDS}
  assert results == again


def test_all_operations_are_chosen_equally_often(monkeypatch):
  # Each operation leaves its number.
  ops = {
      name: lambda image, level, chance, n=n: tf.fill(
          tf.shape(image), tf.constant(n, tf.uint8)
      )
      for n, name in enumerate(rand_augment.OPS)
  }
  monkeypatch.setattr(rand_augment, 'OPS', ops)
  op = tf.function(image_ops.RandAugment(1, 5))
  image = tf.zeros([1, 1, 1], tf.uint8)
  chosen = [
      int(op(image, tf.constant([n, 3], tf.int32))[0, 0, 0])
      for n in range(1600)
  ]
  counts = np.bincount(chosen, minlength=16)
  # A hundred each, with a deviation of ten.
  assert counts.min() > 60 and counts.max() < 140


@pytest.mark.parametrize('settings', [dict(num_ops=0), dict(magnitude=-1)])
def test_settings_that_make_no_sense_are_refused(settings):
  with pytest.raises(ValueError, match='num_ops must be at least 1'):
    image_ops.RandAugment(**settings)
