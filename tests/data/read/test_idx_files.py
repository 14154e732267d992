"""The original files of Fashion-MNIST, whole and damaged."""

import image_records
from pax_softmoe.data.read import fashion_mnist_images
import pytest


def damage_idx(folder, how):
  """Damages one file; returns its name."""
  images = folder / 'train-images-idx3-ubyte'
  labels = folder / 'train-labels-idx1-ubyte'
  zipped = folder / 't10k-images-idx3-ubyte.gz'
  path, data = {
      'empty': (images, b''),
      'short header': (images, b'\0\0\x08'),
      'truncated': (images, images.read_bytes()[:-1]),
      'too long': (labels, labels.read_bytes() + b'\0'),
      'magic': (images, labels.read_bytes() + bytes(16)),
      'truncated gzip': (zipped, zipped.read_bytes()[:-9]),
      'not gzip': (zipped, b'<html>not found</html>'),
      'corrupt gzip': (zipped, zipped.read_bytes()[:12] + bytes(30)),
      'no items': (labels, image_records.idx_bytes([])),
      'fewer labels': (labels, image_records.idx_bytes([1, 2])),
      'label': (labels, image_records.idx_bytes([1, 2, 10])),
  }[how]
  path.write_bytes(data)
  return path.name


@pytest.mark.parametrize(
    'how, message',
    [
        ('empty', 'the file is empty'),
        ('short header', '3 bytes are too few for the header'),
        ('truncated', '27 bytes, but its header promises 28'),
        ('too long', '12 bytes, but its header promises 11'),
        ('magic', 'the magic number is 0x00000801, .* start with 0x00000803'),
        ('truncated gzip', 'not a whole gzip file'),
        ('not gzip', 'not a whole gzip file'),
        ('corrupt gzip', 'not a whole gzip file'),
        ('no items', 'holds no labels'),
        ('fewer labels', '2 labels for the 3 images'),
        ('label', 'label 10 is not below 10'),
    ],
)
def test_idx_check_names_the_damaged_file(idx_folder, how, message):
  name = damage_idx(idx_folder, how)
  with pytest.raises(ValueError, match=f'{name}: .*{message}.*') as error:
    fashion_mnist_images.FashionMnist(str(idx_folder)).check()
  assert '\n' not in str(error.value)


def test_idx_source_names_the_missing_file(idx_folder):
  (idx_folder / 't10k-labels-idx1-ubyte.gz').unlink()
  source = fashion_mnist_images.FashionMnist(str(idx_folder))
  message = 't10k-labels-idx1-ubyte: neither .* set data_dir'
  with pytest.raises(ValueError, match=message):
    source.check()
  with pytest.raises(ValueError, match=message):
    source.task()
