"""Tests of the script that made the embedded data set."""

import filecmp
import pathlib

import numpy as np
from pax_softmoe.data.prepare import make_embedded
from pax_softmoe.data.read import sources
import pytest
import tensorflow as tf

DEBIAN = pathlib.Path('/usr/share/datasets/fashion-mnist')
EMBEDDED = pathlib.Path(sources.__file__).parent / 'fashion_mnist'


@pytest.mark.parametrize('shape', [(28, 28), (1, 1), (3, 7)])
def test_png_decodes_to_the_same_pixels(shape):
  random = np.random.RandomState(0)
  gradient = np.add.outer(np.arange(shape[0]), np.arange(shape[1]))
  for image in (random.randint(0, 256, shape), 4 * gradient, 0 * gradient):
    encoded = make_embedded.encode_png(image.astype(np.uint8))
    np.testing.assert_array_equal(tf.io.decode_png(encoded)[..., 0], image)


def test_png_of_a_gradient_profits_from_filters():
  gradient = np.add.outer(np.arange(28), np.arange(28)).astype(np.uint8)
  plain = tf.io.encode_png(gradient[..., None], compression=9).numpy()
  assert len(make_embedded.encode_png(gradient)) <= len(plain)


def test_select_takes_the_first_of_each_class_in_random_order():
  labels = np.array([1, 1, 0, 1, 0, 0, 1, 0])
  positions = make_embedded.select(labels, per_class=3)
  assert sorted(positions) == [0, 1, 2, 3, 4, 5]
  assert positions.tolist() == make_embedded.select(labels, 3).tolist()
  assert positions.tolist() != sorted(positions)


def test_script_makes_the_embedded_files_byte_for_byte(tmp_path):
  if not DEBIAN.exists():
    pytest.skip(f'{DEBIAN} is absent; apt-get install dataset-fashion-mnist')
  make_embedded.main([str(DEBIAN), str(tmp_path)])
  made = sorted(path.name for path in tmp_path.iterdir())
  assert made == sorted(path.name for path in EMBEDDED.glob('*.tfrecord'))
  different = filecmp.cmpfiles(tmp_path, EMBEDDED, made, shallow=False)[1:]
  assert different == ([], [])
