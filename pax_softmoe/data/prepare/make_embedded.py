"""Makes the embedded data set from the original files of Fashion-MNIST.

Takes the first images of each class, in an order shuffled with a fixed seed,
and writes them as PNGs into TFRecord files. The same input gives the same bytes
wherever Python uses the original zlib library.

  apt-get install dataset-fashion-mnist
  python -m pax_softmoe.data.prepare.make_embedded \\
      /usr/share/datasets/fashion-mnist pax_softmoe/data/read/fashion_mnist
"""

import argparse
from collections.abc import Sequence
import pathlib
import struct
import zlib

import numpy as np
from pax_softmoe.data.read import fashion_mnist_images
import tensorflow as tf

# Split: number of images per class, number of files.
_SPLITS = {'train': (1000, 4), 'test': (200, 2)}


def encode_png(image: np.ndarray) -> bytes:
  """Returns an [h, w] uint8 image as a small grey PNG file.

  TensorFlow's and Pillow's encoders bring their own zlib, whose bytes differ
  between releases, and give larger files.
  """
  height, width = image.shape
  filtered = _filter_rows(image)
  # PNG asks for the same filters with a small sum of differences as a guess of
  # what compresses best; on flat images no filter at all (row 0) is better.
  cost = np.minimum(filtered, 256 - filtered.astype(int)).sum(axis=2)
  candidates = [np.zeros(height, int), cost.argmin(axis=0)]
  compressed = []
  for kinds in candidates:
    rows = filtered[kinds, np.arange(height)]
    data = np.concatenate([kinds[:, None], rows], axis=1).astype(np.uint8)
    for strategy in (zlib.Z_DEFAULT_STRATEGY, zlib.Z_FILTERED):
      compressor = zlib.compressobj(level=9, strategy=strategy)
      compressed.append(
          compressor.compress(data.tobytes()) + compressor.flush()
      )
  # 8 bits a pixel, grey, standard compression and filters, not interlaced.
  header = struct.pack('>IIBBBBB', width, height, 8, 0, 0, 0, 0)
  return b''.join([
      b'\x89PNG\r\n\x1a\n',
      _chunk(b'IHDR', header),
      _chunk(b'IDAT', min(compressed, key=len)),
      _chunk(b'IEND', b''),
  ])


def _filter_rows(image: np.ndarray) -> np.ndarray:
  """Returns [5, h, w] uint8, the image under each of PNG's five filters."""
  current = image.astype(int)
  padded = np.pad(current, ((1, 0), (1, 0)))
  left, up, corner = padded[1:, :-1], padded[:-1, 1:], padded[:-1, :-1]
  # Paeth: whichever neighbour is nearest to left + up - corner.
  near = np.abs([up - corner, left - corner, left + up - 2 * corner])
  paeth = np.choose(near.argmin(axis=0), [left, up, corner])
  predictions = [0 * current, left, up, (left + up) // 2, paeth]
  return (current - np.array(predictions)).astype(np.uint8)


def _chunk(kind: bytes, data: bytes) -> bytes:
  checksum = zlib.crc32(kind + data)
  return (
      struct.pack('>I', len(data)) + kind + data + struct.pack('>I', checksum)
  )


def _example(image: np.ndarray, label: int) -> bytes:
  """Returns a serialized tf.train.Example as `sources.TFRecordImages` reads."""
  bytes_list = tf.train.BytesList(value=[encode_png(image)])
  features = tf.train.Features(
      feature={
          'image': tf.train.Feature(bytes_list=bytes_list),
          'label': tf.train.Feature(
              int64_list=tf.train.Int64List(value=[label])
          ),
      }
  )
  # Deterministic: the order of the two features is not left to chance.
  example = tf.train.Example(features=features)
  return example.SerializeToString(deterministic=True)


def select(labels: np.ndarray, per_class: int) -> np.ndarray:
  """Returns the shuffled positions of each class's first `per_class` labels."""
  positions = np.concatenate(
      [np.flatnonzero(labels == c)[:per_class] for c in np.unique(labels)]
  )
  # NumPy promises that RandomState's numbers never change.
  return np.random.RandomState(0).permutation(np.sort(positions))


def make(data_dir: str, output_dir: str) -> None:
  """Writes the files of both splits.

  Args:
    data_dir: folder of the four original files, see `fashion_mnist_images.FashionMnist`.
    output_dir: folder for the TFRecord files; made if missing.

  Raises:
    ValueError: an original file is missing or damaged.
  """
  output = pathlib.Path(output_dir)
  output.mkdir(parents=True, exist_ok=True)
  source = fashion_mnist_images.FashionMnist(data_dir)
  for split, (per_class, num_files) in _SPLITS.items():
    images, labels = source.load(split)
    parts = np.split(select(labels, per_class), num_files)
    for index, part in enumerate(parts):
      path = output / f'{split}-{index:05}-of-{num_files:05}.tfrecord'
      with tf.io.TFRecordWriter(str(path)) as writer:
        for position in part:
          writer.write(_example(images[position], int(labels[position])))


def main(argv: Sequence[str] | None = None) -> None:
  parser = argparse.ArgumentParser(
      description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  parser.add_argument('data_dir', help='folder of the four original files')
  parser.add_argument('output_dir', help='folder for the TFRecord files')
  args = parser.parse_args(argv)
  make(args.data_dir, args.output_dir)


if __name__ == '__main__':
  main()
