"""Files of encoded images, to be read by sources."""

import struct

import numpy as np
from pax_softmoe.data.ops import image_ops
import tensorflow as tf


def load(source, split, **kwargs):
  """Returns a split's images [N, h, w] and lists of labels, in file order."""
  ds = source.task().get_dataset({}, split, shuffle=False, **kwargs)
  ds = ds.map(lambda x: (image_ops.decode(x['image'], 1)[..., 0], x['label']))
  pairs = list(ds.as_numpy_iterator())
  return np.stack([p[0] for p in pairs]), [p[1].tolist() for p in pairs]


def example(image=None, label=(0,), **features) -> bytes:
  """Returns a serialized tf.train.Example; `image` defaults to a PNG."""
  if image is None:
    image = tf.io.encode_png(np.zeros([2, 2, 1], np.uint8)).numpy()
  features['image'] = tf.train.Feature(
      bytes_list=tf.train.BytesList(value=[image])
  )
  features['label'] = tf.train.Feature(
      int64_list=tf.train.Int64List(value=label)
  )
  return tf.train.Example(
      features=tf.train.Features(feature=features)
  ).SerializeToString()


def write_records(path, records):
  """Writes a TFRecord file."""
  with tf.io.TFRecordWriter(str(path)) as writer:
    for record in records:
      writer.write(record)


def idx_bytes(array) -> bytes:
  """Returns an array of bytes as a file in the format of MNIST."""
  array = np.array(array, np.uint8)
  header = struct.pack('>I', 0x800 + array.ndim)
  return header + struct.pack(f'>{array.ndim}I', *array.shape) + array.tobytes()
