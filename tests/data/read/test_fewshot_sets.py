"""Which data sets words on the command line mean."""

import io

import numpy as np
from pax_softmoe.data.ops import image_ops
from pax_softmoe.data.read import fewshot_sets
from pax_softmoe.data.read import manifest
from pax_softmoe.evaluation import fewshot
from pax_softmoe.tools import main
from PIL import Image
import pytest
import tensorflow as tf


def write(path, labels):
  """Writes a TFRecord file of grey images as bright as their label."""
  with tf.io.TFRecordWriter(str(path)) as writer:
    for label in labels:
      png = io.BytesIO()
      Image.fromarray(np.full([9, 12], 20 * label, np.uint8)).save(png, 'PNG')
      feature = {
          'image': tf.train.Feature(
              bytes_list=tf.train.BytesList(value=[png.getvalue()])
          ),
          'label': tf.train.Feature(
              int64_list=tf.train.Int64List(value=[label])
          ),
      }
      example = tf.train.Example(features=tf.train.Features(feature=feature))
      writer.write(example.SerializeToString())


def plan_of(data, shots=(1,)):
  return fewshot_sets.FewShotPlan(
      sets=(data,),
      shots=shots,
      seed=0,
      batch_size=3,
      image_size=8,
      channels=3,
      ops=(image_ops.Resize(8), image_ops.ValueRange(0, 255)),
  )


def test_folder_of_tfrecords_counts_its_classes(tmp_path):
  write(tmp_path / 'train-00000-of-00001.tfrecord', [0, 1, 2, 1, 3, 4])
  write(tmp_path / 'test-00000-of-00001.tfrecord', [1, 4])
  found = fewshot_sets.parse(f'pets={tmp_path}')
  assert found.name == 'pets'
  assert found.source.num_classes == 5
  assert fewshot_sets.parse(str(tmp_path)).name == tmp_path.name
  plan = plan_of(found)
  train, test = (tpl.Instantiate() for tpl in plan.inputs(found))
  batch = train.get_next()
  assert batch.image.shape == (3, 8, 8, 3)
  np.testing.assert_allclose(batch.image[:, 4, 4, 0], [0, 20, 40])
  last = test.get_next()
  np.testing.assert_array_equal(last.eval_sample_weights, [1, 1, 0])
  np.testing.assert_array_equal(last.labels.argmax(-1)[:2], [1, 4])


def test_more_shots_than_images_of_a_class_are_refused(tmp_path):
  write(tmp_path / 'train-0.tfrecord', [0, 0, 0, 1, 1, 2, 2, 2])
  write(tmp_path / 'test-0.tfrecord', [2])
  found = fewshot_sets.parse(f'pets={tmp_path}')
  plan_of(found, shots=(1, 2))
  with pytest.raises(ValueError, match='pets: class 1 has 2 training images'):
    plan_of(found, shots=(1, 3))


def test_a_class_that_is_only_tested_is_named(tmp_path):
  write(tmp_path / 'train-0.tfrecord', [0, 2])
  write(tmp_path / 'test-0.tfrecord', [1])
  found = fewshot_sets.parse(str(tmp_path))
  with pytest.raises(
      ValueError, match='class 1 has 0 training images, too few'
  ):
    plan_of(found)


@pytest.mark.parametrize('shots', [(), (0,), (1, -5)])
def test_no_shots_are_refused(shots):
  found = fewshot_sets.parse('fashion_mnist')
  with pytest.raises(ValueError, match='shots; give one or more'):
    plan_of(found, shots)
  with pytest.raises(ValueError, match='shots; give one or more'):
    fewshot.evaluate({}, shots)


@pytest.mark.parametrize('label', [-1, 7_800_000_001])
def test_labels_that_are_no_classes_are_named(tmp_path, label):
  write(tmp_path / 'train-0.tfrecord', [0, 1])
  write(tmp_path / 'test-0.tfrecord', [0])
  examples = [
      tf.train.Example.FromString(r.numpy())
      for r in tf.data.TFRecordDataset(str(tmp_path / 'train-0.tfrecord'))
  ]
  examples[1].features.feature['label'].int64_list.value[:] = [label]
  with tf.io.TFRecordWriter(str(tmp_path / 'train-0.tfrecord')) as writer:
    for example in examples:
      writer.write(example.SerializeToString())
  with pytest.raises(ValueError, match='example 1 of train has the labels'):
    fewshot_sets.parse(str(tmp_path))


def test_embedded_images_need_no_folder():
  found = fewshot_sets.parse('fashion_mnist')
  assert found.source.num_classes == 10
  assert found.test_split == 'test'


def test_other_folders_are_refused(tmp_path):
  with pytest.raises(
      ValueError, match='has no split test or validation .*give data'
  ):
    fewshot_sets.parse(str(tmp_path))


def test_what_softmoe_data_wrote_is_read_by_its_manifest(tmp_path):
  for split, labels in (('train', (0, 0, 1, 1)), ('validation', (0, 1))):
    for i, label in enumerate(labels):
      path = tmp_path / 'in' / split / f'class{label}' / f'{i}.png'
      path.parent.mkdir(parents=True, exist_ok=True)
      Image.fromarray(np.full([9, 12], 20 * i, np.uint8)).save(path)
  command = ['data', str(tmp_path / 'in'), f'--output={tmp_path / "out"}']
  assert main.main(command) == 0
  found = fewshot_sets.parse(f'mine={tmp_path / "out"}')
  assert isinstance(found.source, manifest.ManifestImages)
  assert found.source.class_names == ('class0', 'class1')
  assert (found.test_split, found.most_shots) == ('validation', 2)
