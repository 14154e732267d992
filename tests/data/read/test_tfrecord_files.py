"""TFRecord files, whole and damaged."""

import image_records
from pax_softmoe.data.read import sources
import pytest
import tensorflow as tf


def damage_tfrecord(path, how):
  """Writes two good records to `path` and damages the last of them."""
  good = image_records.example()
  image_records.write_records(path, [good, good])
  data = bytearray(path.read_bytes())
  data[-20] ^= 1
  flipped = bytes(data)
  data = {
      'empty': b'',
      'truncated': path.read_bytes()[:-7],
      'bit': flipped,
      'text': b'name,label\nboot,9\nbag,8\n',
  }.get(how)
  record = {
      'no example': b'\xff\xff\xff',
      'image key': image_records.example().replace(b'image', b'photo'),
      'label key': image_records.example().replace(b'label', b'class'),
      'no label': image_records.example(label=[]),
      'label': image_records.example(label=[1, 10]),
      'negative label': image_records.example(label=[-1]),
      'image': image_records.example(b'GIF? no'),
  }.get(how)
  if data is not None:
    path.write_bytes(data)
  else:
    image_records.write_records(
        path, [record] if how == 'image' else [good, record]
    )


@pytest.mark.parametrize(
    'how, message',
    [
        ('empty', 'the file is empty'),
        ('truncated', 'not a whole TFRecord file .*truncated'),
        ('bit', 'not a whole TFRecord file .*corrupted'),
        ('text', 'not a whole TFRecord file'),
        ('no example', 'record 1: it is not a tf.train.Example'),
        ('image key', r"record 1: .*no bytes feature 'image'.*set image_key"),
        ('label key', r"no int64 feature 'label'.*'class'.*set label_key"),
        ('no label', r"no int64 feature 'label'"),
        ('label', r'labels \[1, 10\] are not all within 0..9; set num_cl'),
        ('negative label', r'labels \[-1\] are not all within 0..9'),
        ('image', 'record 0: the image is no readable PNG'),
    ],
)
def test_tfrecord_check_names_the_damaged_file(tmp_path, how, message):
  path = tmp_path / 'train-7.tfrecord'
  damage_tfrecord(path, how)
  source = sources.TFRecordImages(str(tmp_path), 10, splits=('train',))
  with pytest.raises(ValueError, match=f'train-7.tfrecord.*{message}') as error:
    source.check(full=True)
  assert '\n' not in str(error.value)


def test_compressed_files_are_named(tmp_path):
  path = tmp_path / 'train-0.tfrecord.gz'
  options = tf.io.TFRecordOptions(compression_type='GZIP')
  with tf.io.TFRecordWriter(str(path), options) as writer:
    writer.write(image_records.example())
  source = sources.TFRecordImages(str(tmp_path), 10, splits=('train',))
  for use in (source.check, lambda: source.num_examples('train')):
    with pytest.raises(
        ValueError, match='train-0.tfrecord.gz: it is compressed'
    ):
      use()


@pytest.mark.parametrize('how', ['truncated', 'text'])
def test_counting_notices_a_file_that_ends_too_soon(tmp_path, how):
  damage_tfrecord(tmp_path / 'train-7.tfrecord', how)
  source = sources.TFRecordImages(str(tmp_path), 10, splits=('train',))
  with pytest.raises(ValueError, match=r'train-7.tfrecord: its records end at'):
    source.num_examples('train')
