"""Mixtures of data sets whose examples tell where they come from."""

import numpy as np
from pax_softmoe import experiments
from pax_softmoe.data.ops import image_ops
from pax_softmoe.data.read import image_features
from pax_softmoe.data.read import image_input
from pax_softmoe.data.read import named
from praxis import pax_fiddle
import pytest
import tensorflow as tf


def write(folder, values, num_files=2):
  """Writes 4x4 images of one value each, all of class 0, in two splits."""
  folder.mkdir()
  for split in ('train', 'validation'):
    for file in range(num_files):
      path = str(folder / f'{split}-{file}.tfrecord')
      with tf.io.TFRecordWriter(path) as writer:
        for value in values[file::num_files]:
          image = tf.io.encode_png(np.full([4, 4, 1], value, np.uint8)).numpy()
          image = tf.train.Feature(bytes_list=tf.train.BytesList(value=[image]))
          label = tf.train.Feature(int64_list=tf.train.Int64List(value=[0]))
          features = tf.train.Features(feature=dict(image=image, label=label))
          writer.write(tf.train.Example(features=features).SerializeToString())
  return str(folder)


@pytest.fixture(name='folders', scope='module')
def _folders(tmp_path_factory):
  """Seven examples below 100, and thirty from 100 on."""
  path = tmp_path_factory.mktemp('mixture')
  return write(path / 'small', range(7)), write(path / 'large', range(100, 130))


def make(folders, rates, train=True, **fields):
  source = named.find(dict(zip(folders, rates)), num_classes=1)
  return pax_fiddle.Config(
      image_input.ImageInput,
      source=source,
      split_name='train' if train else 'validation',
      is_training=train,
      batch_size=10,
      image_size=4,
      channels=1,
      **fields,
  ).Instantiate()


def values(batch):
  real = batch.eval_sample_weights > 0
  return batch.image[real, 0, 0, 0].astype(int).tolist()


def test_examples_come_at_their_rates_and_each_set_in_whole_epochs(folders):
  inputs = make(folders, (3, 1))
  got = [v for _ in range(40) for v in values(inputs.get_next())]
  small = [v for v in got if v < 100]
  # Three quarters of 400, with a deviation of 9.
  assert 265 < len(small) < 335
  for start in range(0, len(small) - 7, 7):
    assert sorted(small[start : start + 7]) == list(range(7))
  large = [v for v in got if v >= 100]
  assert sorted(large[:30]) == list(range(100, 130))


def test_choices_follow_the_rates():
  drawn = image_features.choices((1, 0.5, 2.5), (7, 0)).take(4000)
  counts = np.bincount([int(i) for i in drawn], minlength=3)
  # 1000, 500 and 2500; three deviations are 82 at most.
  np.testing.assert_allclose(counts, [1000, 500, 2500], atol=85)


def test_resumes_exactly(folders):
  fields = dict(ops=(image_ops.PadCrop(2),), mixup=0.5)
  whole = make(folders, (1, 1), **fields)
  whole = [whole.get_next() for _ in range(12)]
  first = make(folders, (1, 1), **fields)
  for _ in range(5):
    first.get_next()
  second = make(folders, (1, 1), **fields)
  second.set_state(first.get_state())
  for want in whole[5:]:
    got = second.get_next()
    np.testing.assert_array_equal(got.image, want.image)
    np.testing.assert_array_equal(got.labels, want.labels)
  with pytest.raises(ValueError, match='the saved state is of an input with'):
    make(folders, (1, 2), **fields).set_state(first.get_state())


@pytest.mark.parametrize('num_hosts', [1, 2, 3])
def test_evaluation_reads_each_set_once_over_the_hosts(folders, num_hosts):
  seen, num_batches = [], set()
  for host in range(num_hosts):
    inputs = make(
        folders,
        (3, 1),
        train=False,
        num_infeed_hosts=num_hosts,
        infeed_host_index=host,
    )
    count = 0
    with pytest.raises(StopIteration):
      while True:
        seen += values(inputs.get_next())
        count += 1
    num_batches.add(count)
  assert sorted(seen) == [*range(7), *range(100, 130)]
  assert len(num_batches) == 1


def test_experiment_takes_a_mapping_of_rates(folders):
  settings = dict(DATA_DIR=dict(zip(folders, (3, 1))), NUM_CLASSES=1)
  experiment = experiments.SoftMoES16.with_settings(**settings)()
  experiment.validate()
  assert experiment.source().num_examples('train') == 37


def test_rate_that_is_none_is_refused(folders):
  with pytest.raises(ValueError, match='its rate is 0; give a number above 0'):
    make(folders, (1, 0))


def test_other_classes_are_refused(folders, tmp_path):
  from pax_softmoe.data.read import sources
  from pax_softmoe.data.read import weighted

  parts = [
      (sources.TFRecordImages(folder, num_classes=n), 1.0)
      for n, folder in enumerate(folders, 1)
  ]
  with pytest.raises(ValueError, match=r'other classes \(2\) than .*\(1\)'):
    weighted.MixedImages(tuple(parts))
