"""What sources offer: splits, shards of hosts, checks."""

import subprocess
import sys

import image_records
import numpy as np
from pax_softmoe.data.read import fashion_mnist_images
from pax_softmoe.data.read import sources
import pytest
import seqio
import tensorflow as tf


def test_tfrecords_are_found_by_pattern_and_keys(tmp_path):
  path = tmp_path / 'images-train.tfrecord-00000-of-00001'
  png = tf.io.encode_png(np.full([1, 1, 1], 5, np.uint8)).numpy()
  feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[png]))
  image_records.write_records(
      path, [image_records.example(b'thumbnail', [2], picture=feature)] * 3
  )
  source = sources.TFRecordImages(
      str(tmp_path),
      num_classes=3,
      splits=('train',),
      pattern='images-{split}.tfrecord*',
      image_key='picture',
  )
  source.check(full=True)
  images, labels = image_records.load(source, 'train')
  assert images.tolist() == [[[5]]] * 3
  assert labels == [[2]] * 3
  assert source.shard_sizes('train') == [3]


def test_tfrecords_may_have_several_labels(tmp_path):
  records = [
      image_records.example(label=[1]),
      image_records.example(label=[0, 4]),
  ]
  image_records.write_records(tmp_path / 'train-0.tfrecord', records)
  source = sources.TFRecordImages(str(tmp_path), 5, splits=('train',))
  source.check()
  assert image_records.load(source, 'train')[1] == [[1], [0, 4]]


def test_tfrecord_check_reads_small_data_whole(tmp_path, monkeypatch):
  image_records.write_records(
      tmp_path / 'train-7.tfrecord',
      [image_records.example(), image_records.example(label=[1, 10])],
  )
  source = sources.TFRecordImages(str(tmp_path), 10, splits=('train',))
  with pytest.raises(
      ValueError, match='train-7.tfrecord, record 1: the labels'
  ):
    source.check()
  monkeypatch.setattr(sources, 'SMALL', 100)
  source.check()


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
      fashion_mnist_images.EmbeddedFashionMnist(),
      fashion_mnist_images.FashionMnist(str(idx_folder)),
  ):
    with pytest.raises(
        ValueError, match="no split 'valid'; choose one of train"
    ):
      source.num_examples('valid')


@pytest.mark.parametrize('num_hosts', [1, 2, 3, 4, 5, 12])
def test_host_sizes_are_what_seqio_gives_each_host(tmp_path, num_hosts):
  for index, count in enumerate([5, 1, 2, 3]):
    records = [image_records.example(label=[n]) for n in range(count)]
    image_records.write_records(tmp_path / f'train-{index}.tfrecord', records)
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
