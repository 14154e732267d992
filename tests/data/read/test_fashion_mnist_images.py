"""Fashion-MNIST, the part in the package and the whole."""

import hashlib
import pathlib
import shutil

import image_records
import numpy as np
from pax_softmoe.data.read import fashion_mnist_images
from pax_softmoe.data.read import sources
import pytest
import tensorflow as tf

DEBIAN = pathlib.Path('/usr/share/datasets/fashion-mnist')


EMBEDDED = pathlib.Path(sources.__file__).parent / 'fashion_mnist'


# The fourth row of the first training image of Fashion-MNIST, an ankle boot, as
# many tutorials print it.
BOOT_ROW = [0] * 12 + [1, 0, 0, 13, 73, 0, 0, 1, 4, 0, 0, 0, 0, 1, 1, 0]


# Of all pixels in the order of the files, computed from the original IDX files
# and `make_embedded.select`, not from the embedded files.
PIXELS_SHA256 = {
    'train': '1dddc1bf45d5427b919e4f6bcc2615bb06c2e68f137a7afba5bce5edaf3857da',
    'test': 'c5a646bfb13c2b9cc552cfdb420abc89d43b04c8750f66cfbb5ff32d4d70e5df',
}


@pytest.fixture(scope='module')
def embedded():
  """The pixels and labels of the embedded files, in their order, by split."""
  features = {
      'image': tf.io.FixedLenFeature([], tf.string),
      'label': tf.io.FixedLenFeature([], tf.int64),
  }

  def parse(record):
    example = tf.io.parse_single_example(record, features)
    return tf.io.decode_png(example['image'])[..., 0], example['label']

  splits = {}
  for split in ('train', 'test'):
    files = sorted(map(str, EMBEDDED.glob(f'{split}-*')))
    ds = tf.data.TFRecordDataset(files).map(parse).batch(100_000)
    splits[split] = next(ds.as_numpy_iterator())
  return splits


def test_embedded_set_has_the_original_pixels(embedded):
  for split, (images, _) in embedded.items():
    assert images.shape[1:] == (28, 28)
    digest = hashlib.sha256(images.tobytes()).hexdigest()
    assert digest == PIXELS_SHA256[split]


def test_embedded_set_has_the_ankle_boot_that_everyone_prints(embedded):
  images, labels = embedded['train']
  boots = labels[(images[:, 3] == BOOT_ROW).all(axis=1)]
  assert boots.tolist() == [9]
  assert (
      fashion_mnist_images.EmbeddedFashionMnist().class_names[9] == 'Ankle boot'
  )


def test_embedded_set_is_part_of_the_full_set(embedded):
  if not DEBIAN.exists():
    pytest.skip(f'{DEBIAN} is absent; apt-get install dataset-fashion-mnist')
  full = fashion_mnist_images.FashionMnist(str(DEBIAN))
  for split, count in (('train', 60_000), ('test', 10_000)):
    assert full.num_examples(split) == count
    known = {image.tobytes(): label for image, label in zip(*full.load(split))}
    for image, label in zip(*embedded[split]):
      assert known[image.tobytes()] == label


@pytest.mark.parametrize('split, count', [('train', 1000), ('test', 200)])
def test_embedded_set_has_as_many_images_of_each_class(embedded, split, count):
  _, labels = embedded[split]
  np.testing.assert_array_equal(np.bincount(labels), [count] * 10)
  assert (
      fashion_mnist_images.EmbeddedFashionMnist().num_examples(split)
      == 10 * count
  )


def test_embedded_set_passes_its_check():
  fashion_mnist_images.EmbeddedFashionMnist().check()


def test_embedded_check_notices_a_missing_file(tmp_path, monkeypatch):
  folder = tmp_path / 'fashion_mnist'
  shutil.copytree(EMBEDDED, folder)
  (folder / 'train-00002-of-00004.tfrecord').unlink()
  monkeypatch.setattr(fashion_mnist_images, '_EMBEDDED_DIR', folder)
  with pytest.raises(ValueError, match=r'1 of 4 files .*such as number 00002'):
    fashion_mnist_images.EmbeddedFashionMnist().check()


def test_embedded_check_notices_one_wrong_bit(tmp_path, monkeypatch):
  folder = tmp_path / 'fashion_mnist'
  shutil.copytree(EMBEDDED, folder)
  path = folder / 'test-00001-of-00002.tfrecord'
  data = bytearray(path.read_bytes())
  data[300_000] ^= 1
  path.write_bytes(data)
  monkeypatch.setattr(fashion_mnist_images, '_EMBEDDED_DIR', folder)
  with pytest.raises(ValueError, match=r'test-00001.*corrupted record'):
    fashion_mnist_images.EmbeddedFashionMnist().check()


def test_idx_files_give_their_images_and_labels(idx_folder):
  source = fashion_mnist_images.FashionMnist(str(idx_folder))
  source.check()
  images, labels = image_records.load(source, 'train')
  assert images.tolist() == np.arange(12).reshape(3, 2, 2).tolist()
  assert labels == [[4], [9], [0]]
  images, labels = image_records.load(source, 'test')
  assert images[1].tolist() == [[104, 105], [106, 107]]
  assert labels == [[7], [7]]
  assert [source.num_examples(split) for split in source.splits] == [3, 2]
