"""Tests of the data sets, with files that the tests write themselves."""

import gzip
import hashlib
import pathlib
import shutil
import struct
import subprocess
import sys

import numpy as np
from pax_softmoe.data.ops import image_ops
from pax_softmoe.data.read import shard_names
from pax_softmoe.data.read import sources
import pytest
import seqio
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


def load(source, split, **kwargs):
  """Returns a split's images [N, h, w] and lists of labels, in file order."""
  ds = source.task().get_dataset({}, split, shuffle=False, **kwargs)
  ds = ds.map(lambda x: (image_ops.decode(x['image'], 1)[..., 0], x['label']))
  pairs = list(ds.as_numpy_iterator())
  return np.stack([p[0] for p in pairs]), [p[1].tolist() for p in pairs]


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
  with tf.io.TFRecordWriter(str(path)) as writer:
    for record in records:
      writer.write(record)


def idx_bytes(array) -> bytes:
  array = np.array(array, np.uint8)
  header = struct.pack('>I', 0x800 + array.ndim)
  return header + struct.pack(f'>{array.ndim}I', *array.shape) + array.tobytes()


@pytest.fixture
def idx_folder(tmp_path):
  """A folder like that of Fashion-MNIST, of 3 and 2 images of 2x2 pixels."""
  train = np.arange(12).reshape(3, 2, 2)
  test = 100 + np.arange(8).reshape(2, 2, 2)
  (tmp_path / 'train-images-idx3-ubyte').write_bytes(idx_bytes(train))
  (tmp_path / 'train-labels-idx1-ubyte').write_bytes(idx_bytes([4, 9, 0]))
  for name, array in (('images-idx3', test), ('labels-idx1', [7, 7])):
    path = tmp_path / f't10k-{name}-ubyte.gz'
    path.write_bytes(gzip.compress(idx_bytes(array)))
  return tmp_path


def test_embedded_set_has_the_original_pixels(embedded):
  for split, (images, _) in embedded.items():
    assert images.shape[1:] == (28, 28)
    digest = hashlib.sha256(images.tobytes()).hexdigest()
    assert digest == PIXELS_SHA256[split]


def test_embedded_set_has_the_ankle_boot_that_everyone_prints(embedded):
  images, labels = embedded['train']
  boots = labels[(images[:, 3] == BOOT_ROW).all(axis=1)]
  assert boots.tolist() == [9]
  assert sources.EmbeddedFashionMnist().class_names[9] == 'Ankle boot'


def test_embedded_set_is_part_of_the_full_set(embedded):
  if not DEBIAN.exists():
    pytest.skip(f'{DEBIAN} is absent; apt-get install dataset-fashion-mnist')
  full = sources.FashionMnist(str(DEBIAN))
  for split, count in (('train', 60_000), ('test', 10_000)):
    assert full.num_examples(split) == count
    known = {image.tobytes(): label for image, label in zip(*full.load(split))}
    for image, label in zip(*embedded[split]):
      assert known[image.tobytes()] == label


@pytest.mark.parametrize('split, count', [('train', 1000), ('test', 200)])
def test_embedded_set_has_as_many_images_of_each_class(embedded, split, count):
  _, labels = embedded[split]
  np.testing.assert_array_equal(np.bincount(labels), [count] * 10)
  assert sources.EmbeddedFashionMnist().num_examples(split) == 10 * count


def test_embedded_set_passes_its_check():
  sources.EmbeddedFashionMnist().check()


def test_embedded_check_notices_a_missing_file(tmp_path, monkeypatch):
  folder = tmp_path / 'fashion_mnist'
  shutil.copytree(EMBEDDED, folder)
  (folder / 'train-00002-of-00004.tfrecord').unlink()
  monkeypatch.setattr(sources, '_EMBEDDED_DIR', folder)
  with pytest.raises(ValueError, match=r'1 of 4 files .*such as number 00002'):
    sources.EmbeddedFashionMnist().check()


def test_embedded_check_notices_one_wrong_bit(tmp_path, monkeypatch):
  folder = tmp_path / 'fashion_mnist'
  shutil.copytree(EMBEDDED, folder)
  path = folder / 'test-00001-of-00002.tfrecord'
  data = bytearray(path.read_bytes())
  data[300_000] ^= 1
  path.write_bytes(data)
  monkeypatch.setattr(sources, '_EMBEDDED_DIR', folder)
  with pytest.raises(ValueError, match=r'test-00001.*corrupted record'):
    sources.EmbeddedFashionMnist().check()


def test_idx_files_give_their_images_and_labels(idx_folder):
  source = sources.FashionMnist(str(idx_folder))
  source.check()
  images, labels = load(source, 'train')
  assert images.tolist() == np.arange(12).reshape(3, 2, 2).tolist()
  assert labels == [[4], [9], [0]]
  images, labels = load(source, 'test')
  assert images[1].tolist() == [[104, 105], [106, 107]]
  assert labels == [[7], [7]]
  assert [source.num_examples(split) for split in source.splits] == [3, 2]


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
      'no items': (labels, idx_bytes([])),
      'fewer labels': (labels, idx_bytes([1, 2])),
      'label': (labels, idx_bytes([1, 2, 10])),
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
    sources.FashionMnist(str(idx_folder)).check()
  assert '\n' not in str(error.value)


def test_idx_source_names_the_missing_file(idx_folder):
  (idx_folder / 't10k-labels-idx1-ubyte.gz').unlink()
  source = sources.FashionMnist(str(idx_folder))
  message = 't10k-labels-idx1-ubyte: neither .* set data_dir'
  with pytest.raises(ValueError, match=message):
    source.check()
  with pytest.raises(ValueError, match=message):
    source.task()


def test_tfrecords_are_found_by_pattern_and_keys(tmp_path):
  path = tmp_path / 'images-train.tfrecord-00000-of-00001'
  png = tf.io.encode_png(np.full([1, 1, 1], 5, np.uint8)).numpy()
  feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[png]))
  write_records(path, [example(b'thumbnail', [2], picture=feature)] * 3)
  source = sources.TFRecordImages(
      str(tmp_path),
      num_classes=3,
      splits=('train',),
      pattern='images-{split}.tfrecord*',
      image_key='picture',
  )
  source.check(full=True)
  images, labels = load(source, 'train')
  assert images.tolist() == [[[5]]] * 3
  assert labels == [[2]] * 3
  assert source.shard_sizes('train') == [3]


def test_tfrecords_may_have_several_labels(tmp_path):
  records = [example(label=[1]), example(label=[0, 4])]
  write_records(tmp_path / 'train-0.tfrecord', records)
  source = sources.TFRecordImages(str(tmp_path), 5, splits=('train',))
  source.check()
  assert load(source, 'train')[1] == [[1], [0, 4]]


def damage_tfrecord(path, how):
  """Writes two good records to `path` and damages the last of them."""
  good = example()
  write_records(path, [good, good])
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
      'image key': example().replace(b'image', b'photo'),
      'label key': example().replace(b'label', b'class'),
      'no label': example(label=[]),
      'label': example(label=[1, 10]),
      'negative label': example(label=[-1]),
      'image': example(b'GIF? no'),
  }.get(how)
  if data is not None:
    path.write_bytes(data)
  else:
    write_records(path, [record] if how == 'image' else [good, record])


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


def test_tfrecord_check_reads_small_data_whole(tmp_path, monkeypatch):
  damage_tfrecord(tmp_path / 'train-7.tfrecord', 'label')
  source = sources.TFRecordImages(str(tmp_path), 10, splits=('train',))
  with pytest.raises(
      ValueError, match='train-7.tfrecord, record 1: the labels'
  ):
    source.check()
  monkeypatch.setattr(sources, 'SMALL', 100)
  source.check()


def test_compressed_files_are_named(tmp_path):
  path = tmp_path / 'train-0.tfrecord.gz'
  options = tf.io.TFRecordOptions(compression_type='GZIP')
  with tf.io.TFRecordWriter(str(path), options) as writer:
    writer.write(example())
  source = sources.TFRecordImages(str(tmp_path), 10, splits=('train',))
  for use in (source.check, lambda: source.num_examples('train')):
    with pytest.raises(
        ValueError, match='train-0.tfrecord.gz: it is compressed'
    ):
      use()


@pytest.mark.parametrize(
    'names, want',
    [
        # Splits whose names begin as another's does.
        (
            [
                'train-00000-of-00002.tfrecord',
                'train-00001-of-00002.tfrecord',
                'train-extra-00000-of-00001.tfrecord',
                'train-clean.tfrecord',
                'training-00000-of-00001.tfrecord',
            ],
            [0, 1],
        ),
        (
            ['train-0.tfrecord', 'train-1.tfrecord', 'train-old-0.tfrecord'],
            [0, 1],
        ),
        # Whatever people call their files, if there is but one kind.
        (['train-part1.tfrecord', 'train-part2.tfrecord'], [0, 1]),
        (
            [
                'train-00001-of-00002.tfrecord.x',
                'train-00000-of-00002.tfrecord.x',
            ],
            [1, 0],
        ),
        (['train-extra-00000-of-00001.tfrecord'], 'no file has such a name'),
        (['train-a.tfrecord', 'train-b.tfrecord'], 'or of other splits; name'),
        (
            [f'train-0000{i}-of-00004.tfrecord' for i in (0, 1, 3)],
            '1 of 4 files .* missing, such as number 00002; copy them',
        ),
        (
            ['train-00000-of-00001.tfrecord', 'train-00000-of-00002.tfrecord'],
            'are of data in 1 and in 2 files; remove those of one',
        ),
        (
            [
                'train-00000-of-00001.tfrecord',
                'train-00000-of-00001.tfrecord.bak',
            ],
            'are the same part',
        ),
        (
            ['train-00000-of-00001.tfrecord', 'train-7.tfrecord'],
            'train-7.tfrecord is not numbered as',
        ),
    ],
)
def test_files_of_a_split_are_all_there_and_no_others(tmp_path, names, want):
  for name in names:
    write_records(tmp_path / name, [example()])
  find = lambda: shard_names.find(tmp_path, '{split}-*.tfrecord*', 'train')
  if isinstance(want, str):
    with pytest.raises(ValueError, match=want) as error:
      find()
    assert '\n' not in str(error.value)
  else:
    assert find() == [str(tmp_path / names[i]) for i in want]


def test_pattern_of_a_data_set_with_its_name_before_the_split(tmp_path):
  for name in ('pets-train.tfrecord-00000-of-00001', 'pets-trainx.tfrecord-0'):
    write_records(tmp_path / name, [example()])
  found = shard_names.find(tmp_path, 'pets-{split}.tfrecord*', 'train')
  assert found == [str(tmp_path / 'pets-train.tfrecord-00000-of-00001')]


@pytest.mark.parametrize('how', ['truncated', 'text'])
def test_counting_notices_a_file_that_ends_too_soon(tmp_path, how):
  damage_tfrecord(tmp_path / 'train-7.tfrecord', how)
  source = sources.TFRecordImages(str(tmp_path), 10, splits=('train',))
  with pytest.raises(ValueError, match=r'train-7.tfrecord: its records end at'):
    source.num_examples('train')


def test_tfrecord_source_says_what_is_missing(tmp_path):
  source = sources.TFRecordImages(str(tmp_path / 'no'), 10)
  with pytest.raises(
      ValueError, match='/no: there is no such folder; give the one that holds'
  ):
    source.task()
  source = sources.TFRecordImages(str(tmp_path), 10)
  message = r'train-\*.tfrecord\*: no file has such a name; give a folder'
  for use in (source.task, source.check, lambda: source.num_examples('train')):
    with pytest.raises(ValueError, match=message):
      use()


def test_unknown_split_is_an_error_that_lists_the_splits(idx_folder):
  for source in (
      sources.EmbeddedFashionMnist(),
      sources.FashionMnist(str(idx_folder)),
  ):
    with pytest.raises(
        ValueError, match="no split 'valid'; choose one of train"
    ):
      source.num_examples('valid')


@pytest.mark.parametrize('num_hosts', [1, 2, 3, 4, 5, 12])
def test_host_sizes_are_what_seqio_gives_each_host(tmp_path, num_hosts):
  for index, count in enumerate([5, 1, 2, 3]):
    records = [example(label=[n]) for n in range(count)]
    write_records(tmp_path / f'train-{index}.tfrecord', records)
  source = sources.TFRecordImages(str(tmp_path), 10, splits=('train',))
  counts = []
  for host in range(num_hosts):
    ds = source.task().get_dataset(
        {}, 'train', shuffle=False, shard_info=seqio.ShardInfo(host, num_hosts)
    )
    counts.append(len(list(ds)))
  assert source.host_sizes('train', num_hosts) == counts
  assert sum(counts) == 11


def test_package_itself_does_not_load_tensorflow():
  program = (
      'import pax_softmoe.data, sys;'
      "sys.exit('tensorflow' in sys.modules or 'jax' in sys.modules)"
  )
  subprocess.run([sys.executable, '-c', program], check=True)
