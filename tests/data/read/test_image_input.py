"""Tests of the Pax input, mostly on 37 tiny images that can be told apart."""

import io
import re
import zipfile

import numpy as np
from pax_softmoe.data.ops import image_ops
from pax_softmoe.data.read import fashion_mnist_images
from pax_softmoe.data.read import image_input
from pax_softmoe.data.read import sources
from paxml import checkpoints
from PIL import Image
from praxis import base_hyperparams
from praxis import base_input
from praxis import pax_fiddle
import pytest
import tensorflow as tf

NUM_EXAMPLES = 37
AUGMENT = (
    image_ops.PadCrop(2),
    image_ops.FlipLeftRight(),
    image_ops.ValueRange(),
)


def write_records(path, images, labels):
  with tf.io.TFRecordWriter(str(path)) as writer:
    for image, label in zip(images, labels):
      png = tf.io.encode_png(np.asarray(image, np.uint8)).numpy()
      feature = {
          'image': tf.train.Feature(bytes_list=tf.train.BytesList(value=[png])),
          'label': tf.train.Feature(int64_list=tf.train.Int64List(value=label)),
      }
      features = tf.train.Features(feature=feature)
      writer.write(tf.train.Example(features=features).SerializeToString())


@pytest.fixture(scope='module')
def numbered(tmp_path_factory):
  """A source whose example n is a 6x6 image of the value n, of class n % 5.

  Its files are of different sizes, as they come. 'few' has 3 examples.
  """
  folder = tmp_path_factory.mktemp('numbered')
  images = [np.full([6, 6, 1], n) for n in range(NUM_EXAMPLES)]
  labels = [[n % 5] for n in range(NUM_EXAMPLES)]
  parts = [(0, 20), (20, 22), (22, 37)]
  for split, ranges in (('train', parts), ('test', parts), ('few', [(0, 3)])):
    for index, (start, end) in enumerate(ranges):
      path = folder / f'{split}-{index}.tfrecord'
      write_records(path, images[start:end], labels[start:end])
  return sources.TFRecordImages(
      str(folder),
      num_classes=5,
      splits=('train', 'test', 'few'),
      # Smaller than the data, so that reading and shuffling go hand in hand.
      shuffle_buffer_size=10,
  )


def make(source, *, train=True, **fields):
  """Returns an input that gives images as they are in the files."""
  fields = {
      'name': 'numbered',
      'split_name': 'train' if train else 'test',
      'is_training': train,
      'batch_size': 4,
      'image_size': 6,
      'channels': 1,
      **fields,
  }
  return pax_fiddle.Config(
      image_input.ImageInput, source=source, **fields
  ).Instantiate()


def take(inputs, num_batches):
  return [inputs.get_next_padded() for _ in range(num_batches)]


def take_all(inputs):
  """Returns the batches up to the end."""
  batches = []
  with pytest.raises(StopIteration):
    while True:
      batches.append(inputs.get_next_padded())
  return batches


def numbers(batches):
  """Returns the numbers of the examples in `batches`, without padding."""
  return [
      int(image[0, 0, 0])
      for batch in batches
      for image, weight in zip(batch.image, batch.eval_sample_weights)
      if weight
  ]


def assert_same(batches, others):
  assert len(batches) == len(others)
  for batch, other in zip(batches, others):
    assert batch.keys() == other.keys()
    for name in batch:
      np.testing.assert_array_equal(batch[name], other[name])


def differ(batches, others):
  return any((a.image != b.image).any() for a, b in zip(batches, others))


def test_training_batch_of_the_embedded_set():
  inputs = make(
      fashion_mnist_images.EmbeddedFashionMnist(),
      batch_size=64,
      image_size=28,
      ops=AUGMENT,
  )
  batch = inputs.get_next_padded()
  assert set(batch) == {'image', 'labels', 'eval_sample_weights'}
  assert batch.image.shape == (64, 28, 28, 1)
  assert batch.labels.shape == (64, 10)
  assert all(array.dtype == np.float32 for array in batch.values())
  assert (batch.image.min(), batch.image.max()) == (-1, 1)
  assert (batch.labels.sum(axis=1) == 1).all()
  assert (batch.labels.sum(axis=0) > 0).all()
  assert (batch.eval_sample_weights == 1).all()


def test_evaluation_reads_the_whole_embedded_test_set():
  source = fashion_mnist_images.EmbeddedFashionMnist()
  batches = take_all(make(source, train=False, batch_size=300, image_size=28))
  assert len(batches) == 7
  weights = np.concatenate([b.eval_sample_weights for b in batches])
  labels = np.concatenate([b.labels for b in batches])
  assert weights.sum() == 2000
  assert (labels[weights > 0].sum(axis=0) == 200).all()


def test_labels_fit_the_images(numbered):
  for batch in take_all(make(numbered, train=False)):
    real = batch.eval_sample_weights > 0
    expected = batch.image[real, 0, 0, 0] % 5
    np.testing.assert_array_equal(batch.labels[real].argmax(axis=1), expected)
    assert (batch.labels[real].sum(axis=1) == 1).all()


def test_specs_are_those_of_the_batches(numbered):
  specs = pax_fiddle.Config(
      image_input.ImageInputSpecs, batch_size=4, image_size=6, num_classes=5
  )
  specs = specs.Instantiate().get_input_specs()
  for train in (True, False):
    batch = make(numbered, train=train, channels=3).get_next_padded()
    assert type(specs) is type(batch)
    assert set(specs) == set(batch)
    for name, array in batch.items():
      assert (specs[name].shape, specs[name].dtype) == (
          array.shape,
          array.dtype,
      )


def test_grey_images_fill_three_channels(numbered):
  batch = make(numbered, train=False, channels=3).get_next_padded()
  assert batch.image.shape == (4, 6, 6, 3)
  assert (batch.image == np.arange(4)[:, None, None, None]).all()


def test_example_with_several_labels_has_a_one_for_each(tmp_path):
  image = np.zeros([6, 6, 1])
  write_records(tmp_path / 'test-0.tfrecord', [image] * 2, [[1, 3], [2, 2]])
  source = sources.TFRecordImages(str(tmp_path), 4, splits=('test',))
  batch = make(source, train=False, batch_size=2).get_next_padded()
  assert batch.labels.tolist() == [[0, 1, 0, 1], [0, 0, 1, 0]]


def test_each_epoch_has_every_example_once_in_a_new_order(numbered):
  inputs = make(numbered, batch_size=NUM_EXAMPLES)
  orders = [numbers([inputs.get_next_padded()]) for _ in range(4)]
  for order in orders:
    assert sorted(order) == list(range(NUM_EXAMPLES))
  assert len({tuple(order) for order in orders}) == 4


def test_same_seed_gives_the_same_batches_and_another_seed_others(numbered):
  first = take(make(numbered, ops=AUGMENT), 15)
  assert_same(first, take(make(numbered, ops=AUGMENT), 15))
  assert differ(
      first, take(make(numbered, ops=AUGMENT, input_random_seed=1), 1)
  )


def test_augmentation_differs_between_epochs_examples_and_hosts(tmp_path):
  # Four times the same image: whatever differs is the augmentation.
  image = np.arange(36).reshape(6, 6, 1)
  for index in range(4):
    path = tmp_path / f'train-{index}.tfrecord'
    write_records(path, [image] * 2, [[0]] * 2)
  source = sources.TFRecordImages(str(tmp_path), 1, splits=('train',))
  batches = []
  for host in range(2):
    inputs = make(
        source,
        ops=(image_ops.PadCrop(5),),
        num_infeed_hosts=2,
        infeed_host_index=host,
    )
    batches += take(inputs, 3)
  images = np.concatenate([b.image for b in batches]).reshape(24, -1)
  # 121 crops are possible; equal seeds would leave at most half of the 24.
  assert len(np.unique(images, axis=0)) > 16


@pytest.mark.parametrize(
    'split, num_hosts, batch_size',
    [
        ('test', 1, 8),
        ('test', 2, 5),  # Each host reads its own files.
        ('test', 4, 16),  # More hosts than files.
        ('few', 4, 2),  # More hosts than examples.
    ],
)
def test_evaluation_counts_every_example_once_over_the_hosts(
    numbered, split, num_hosts, batch_size
):
  seen = []
  num_batches = set()
  for host in range(num_hosts):
    inputs = make(
        numbered,
        train=False,
        split_name=split,
        batch_size=batch_size,
        num_infeed_hosts=num_hosts,
        infeed_host_index=host,
    )
    batches = take_all(inputs)
    seen += numbers(batches)
    num_batches.add(len(batches))
    assert all(len(batch.image) == batch_size for batch in batches)
  assert sorted(seen) == list(range({'test': NUM_EXAMPLES, 'few': 3}[split]))
  assert len(num_batches) == 1


def test_evaluation_is_one_whole_pass_that_repeats_after_reset(numbered):
  inputs = make(numbered, train=False)
  # What makes Pax read to the end and reset.
  assert inputs.reset_for_eval
  assert inputs.eval_loop_num_batches == -1
  first = take_all(inputs)
  inputs.reset()
  assert_same(first, take_all(inputs))
  inputs.reset()
  inputs.peek_padded()
  inputs.reset()
  assert_same(first, take_all(inputs))


# Three files: with two hosts each reads its own, with four they share them.
@pytest.mark.parametrize('num_hosts', [2, 4])
def test_training_hosts_read_disjoint_examples(numbered, num_hosts):
  epochs = [[], [], []]
  for host, size in enumerate(numbered.host_sizes('train', num_hosts)):
    inputs = make(
        numbered,
        batch_size=1,
        num_infeed_hosts=num_hosts,
        infeed_host_index=host,
    )
    for epoch in epochs:
      epoch += numbers(take(inputs, size))
  for epoch in epochs:
    assert sorted(epoch) == list(range(NUM_EXAMPLES))


# 37 examples in batches of 4: an epoch ends within the tenth batch.
@pytest.mark.parametrize('num_batches', [0, 5, 9, 21])
def test_training_resumes_bit_identically(numbered, tmp_path, num_batches):
  inputs = make(numbered, ops=AUGMENT)
  take(inputs, num_batches)
  inputs.save(tmp_path / 'state')
  expected = take(inputs, 25)

  resumed = make(numbered, ops=AUGMENT)
  resumed.restore(tmp_path / 'state')
  assert_same(expected, take(resumed, 25))
  # Going back in the same object works as well.
  inputs.restore(tmp_path / 'state')
  assert_same(expected, take(inputs, 25))


def test_embedded_set_resumes_bit_identically_in_a_later_epoch():
  source = fashion_mnist_images.EmbeddedFashionMnist()
  fields = dict(ops=AUGMENT, image_size=28, batch_size=1000)
  inputs = make(source, **fields)
  take(inputs, 11)
  state = inputs.get_state()
  # The shuffle buffer holds PNGs; decoded, 7,000 images are 22 MB.
  assert len(state) < 8e6
  resumed = make(source, **fields)
  resumed.set_state(state)
  assert_same(take(inputs, 10), take(resumed, 10))


def test_full_set_saves_positions_instead_of_images(tmp_path):
  # 2,000 images of 100x100 pixels, 20 MB, each of another grey than its
  # neighbours.
  pixels = np.repeat(np.arange(2000, dtype=np.uint8), 100 * 100).tobytes()
  header = b'\0\0\x08\x03' + np.array([2000, 100, 100], '>u4').tobytes()
  (tmp_path / 'train-images-idx3-ubyte').write_bytes(header + pixels)
  header = b'\0\0\x08\x01' + np.array([2000], '>u4').tobytes()
  (tmp_path / 'train-labels-idx1-ubyte').write_bytes(header + bytes(2000))
  for name in ('images-idx3', 'labels-idx1'):
    (tmp_path / f't10k-{name}-ubyte').write_bytes(b'unused')
  source = fashion_mnist_images.FashionMnist(str(tmp_path))
  fields = dict(image_size=6, ops=(image_ops.InceptionCrop(6),))
  inputs = make(source, **fields)
  take(inputs, 3)
  state = inputs.get_state()
  # What is left are the few images on their way to the batch.
  assert len(state) < 4e6
  resumed = make(source, **fields)
  resumed.set_state(state)
  assert_same(take(inputs, 3), take(resumed, 3))


def test_batch_peeked_at_is_not_lost_when_saved(numbered):
  inputs = make(numbered, ops=AUGMENT)
  take(inputs, 3)
  peeked = inputs.peek_padded()
  state = inputs.get_state()
  expected = take(inputs, 12)
  assert_same([peeked], expected[:1])

  resumed = make(numbered, ops=AUGMENT)
  resumed.peek_padded()  # As Pax does while it sets up; must not matter.
  resumed.set_state(state)
  assert_same(expected, take(resumed, 12))


def test_pax_checkpoints_save_and_restore_the_input(numbered, tmp_path):
  handler = checkpoints.BaseInputCheckpointHandler()
  fields = dict(ops=AUGMENT, input_checkpointing_enabled=True)
  inputs = make(numbered, **fields)
  take(inputs, 2)
  handler.save(tmp_path / 'input', inputs)
  resumed = make(numbered, **fields)
  handler.restore(tmp_path / 'input', resumed)
  assert_same(take(inputs, 5), take(resumed, 5))


@pytest.mark.parametrize(
    'fields, message',
    [
        ({'batch_size': 5}, 'batch_size=4, this one has 5'),
        ({'input_random_seed': 3}, 'input_random_seed=0, this one has 3'),
        ({'num_infeed_hosts': 2}, 'num_infeed_hosts=1, this one has 2'),
        ({'split_name': 'test'}, "split_name='train', this one has 'test'"),
    ],
)
def test_state_of_another_input_is_refused(numbered, fields, message):
  state = make(numbered).get_state()
  with pytest.raises(ValueError, match=message) as error:
    make(numbered, **fields).set_state(state)
  assert '\n' not in str(error.value)


def test_a_place_that_tensorflow_cannot_read_names_versions(numbered):
  state = make(numbered).get_state()
  other = io.BytesIO()
  with zipfile.ZipFile(io.BytesIO(state)) as saved:
    with zipfile.ZipFile(other, 'w') as archive:
      # The names of an iterator's parts are those of the version that wrote it.
      for name in saved.namelist():
        content = saved.read(name).replace(tf.__version__.encode(), b'2.9.3')
        if name.startswith('iterator.index'):
          content = b''
        archive.writestr(name, content)
  with pytest.raises(
      ValueError,
      match=(
          rf"'numbered': TensorFlow {re.escape(tf.__version__)} cannot read .*"
          r' which TensorFlow 2\.9\.3 wrote; resume with the versions'
      ),
  ):
    make(numbered).set_state(other.getvalue())


def test_input_can_be_saved_with_changed_ops(numbered):
  state = make(numbered).get_state()
  resumed = make(numbered, ops=AUGMENT)
  resumed.set_state(state)
  # Batches under way come as they are; later ones go through the new ops.
  assert take(resumed, 30)[-1].image.max() <= 1


@pytest.mark.parametrize('field', ['source', 'split_name', 'image_size'])
def test_missing_field_is_an_error_that_names_it(numbered, field):
  with pytest.raises(ValueError, match=f"'numbered'.* set .*{field}"):
    make(**{'source': numbered, field: None})


def test_unknown_split_is_an_error(numbered):
  with pytest.raises(ValueError, match="no split 'val'; choose one of train,"):
    make(numbered, split_name='val')


def test_image_of_another_size_is_an_error(numbered):
  with pytest.raises(ValueError, match='train-0.tfrecord, record 0: .*6,6,1'):
    make(numbered, image_size=7).get_next_padded()


@pytest.mark.parametrize('labels', [[], [-1], [0, 5]])
def test_label_outside_the_classes_is_an_error(tmp_path, labels):
  write_records(tmp_path / 'train-0.tfrecord', [np.zeros([6, 6, 1])], [labels])
  source = sources.TFRecordImages(str(tmp_path), 5, splits=('train',))
  with pytest.raises(ValueError, match='train-0.tfrecord, record 0: .*label'):
    make(source).get_next_padded()


def spoil(folder, how):
  """Writes 40 good records in two files, but for one in the second."""
  good, labels = [np.zeros([6, 6, 1])] * 20, [[n % 5] for n in range(20)]
  for index in range(2):
    path = folder / f'train-{index:05d}-of-00002.tfrecord'
    write_records(path, good, labels)
  records = [r.numpy() for r in tf.data.TFRecordDataset(str(path))]
  example = tf.train.Example.FromString(records[7])
  feature = example.features.feature
  feature['name'].bytes_list.value.append(b'cat/7.png')
  png = feature['image'].bytes_list.value
  label = feature['label']
  if how == 'cut':
    png[0] = png[0][:-30]
  elif how == 'two labels':
    label.int64_list.value[:] = [1, 2]
  elif how == 'label':
    label.int64_list.value[:] = [5]
  elif how == 'no label':
    del label.int64_list.value[:]
  elif how == 'text':
    label.bytes_list.value.append(b'cat')
  elif how == 'float':
    label.float_list.value.append(1.0)
  records[7] = example.SerializeToString()
  if how == 'no example':
    records[7] = b'\xff\xfe\xff'
  with tf.io.TFRecordWriter(str(path)) as writer:
    for record in records:
      writer.write(record)
  if how == 'flipped':
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    'how, message',
    [
        ('cut', r'record 7 \(cat/7.png\): the image is no readable .*'),
        ('two labels', r'record 7 \(cat.* \[1, 2\], .*set LOSS to .sigmoid'),
        ('label', r'record 7 \(cat/7.png\): the labels \[5\] are not all'),
        ('no label', r"record 7 \(cat/7.png\): .*'label'.*set label_key"),
        ('text', r"no int64 feature 'label' .*'label': 'bytes'"),
        ('float', r"no int64 feature 'label' .*'label': 'floats'"),
        ('no example', 'record 7: it is not a tf.train.Example'),
        ('flipped', r'not a whole TFRecord file \(corrupted record at \d+\)'),
    ],
)
@pytest.mark.parametrize('train', [True, False])
def test_a_bad_record_met_on_the_way_is_named(tmp_path, how, message, train):
  spoil(tmp_path, how)
  source = sources.TFRecordImages(
      str(tmp_path), 5, splits=('train',), shuffle_buffer_size=1
  )
  inputs = make(
      source, train=train, split_name='train', batch_size=2, single_label=True
  )
  with pytest.raises(ValueError, match=message) as error:
    for _ in range(20):
      inputs.get_next_padded()
  text = str(error.value)
  assert text.startswith(str(tmp_path / 'train-00001-of-00002.tfrecord'))
  assert '\n' not in text


def test_several_labels_are_fine_where_no_single_one_is_needed(tmp_path):
  spoil(tmp_path, 'two labels')
  source = sources.TFRecordImages(str(tmp_path), 5, splits=('train',))
  batch = make(source, batch_size=40).get_next_padded()
  assert batch.labels.sum() == 41


def test_array_source_names_the_example(tmp_path):
  (tmp_path / 'train-images-idx3-ubyte').write_bytes(
      b'\0\0\x08\x03' + np.array([3, 6, 6], '>u4').tobytes() + bytes(108)
  )
  (tmp_path / 'train-labels-idx1-ubyte').write_bytes(
      b'\0\0\x08\x01' + np.array([3], '>u4').tobytes() + b'\1\2\3'
  )
  for name in ('images-idx3', 'labels-idx1'):
    (tmp_path / f't10k-{name}-ubyte').write_bytes(b'unused')
  inputs = make(fashion_mnist_images.FashionMnist(str(tmp_path)), image_size=7)
  with pytest.raises(
      ValueError, match='fashion_mnist, example 0 of train: .*6'
  ):
    inputs.get_next_padded()


def test_turned_and_foreign_pictures_in_ready_files_are_read(tmp_path):
  # Yellow over blue, stored lying on its side, and as a GIF.
  upright = Image.new('RGB', (8, 8), (0, 0, 200))
  upright.paste((200, 200, 0), (0, 0, 8, 4))
  exif = Image.Exif()
  exif[0x0112] = 6
  lying = io.BytesIO()
  upright.rotate(90).save(lying, 'JPEG', quality=95, exif=exif)
  gif = io.BytesIO()
  upright.save(gif, 'GIF')
  with tf.io.TFRecordWriter(str(tmp_path / 'test-0.tfrecord')) as writer:
    for encoded in (lying.getvalue(), gif.getvalue()):
      feature = {
          'image': tf.train.Feature(
              bytes_list=tf.train.BytesList(value=[encoded])
          ),
          'label': tf.train.Feature(int64_list=tf.train.Int64List(value=[0])),
      }
      features = tf.train.Features(feature=feature)
      writer.write(tf.train.Example(features=features).SerializeToString())
  source = sources.TFRecordImages(str(tmp_path), 1, splits=('test',))
  source.check()
  for channels, (above, below) in {
      3: ((200, 200, 0), (0, 0, 200)),
      1: ((177,), (23,)),
  }.items():
    batch = make(
        source, train=False, batch_size=2, image_size=8, channels=channels
    ).get_next_padded()
    for image in batch.image:
      np.testing.assert_allclose(image[1], [above] * 8, atol=10)
      np.testing.assert_allclose(image[6], [below] * 8, atol=10)


def test_config_prints_the_source_and_the_ops():
  config = pax_fiddle.Config(
      image_input.ImageInput,
      source=fashion_mnist_images.EmbeddedFashionMnist(),
      split_name='train',
      batch_size=2,
      image_size=28,
      ops=AUGMENT,
  )
  text = base_hyperparams.nested_struct_to_text(config)
  assert "source.name : 'embedded_fashion_mnist'" in text
  assert 'PadCrop(padding=2)' in text
  assert 'fashion_mnist/' not in text  # No path that differs by machine.


def test_input_specs_of_the_dataset_agree(numbered):
  # What Pax falls back to if an experiment gives no specs.
  config = pax_fiddle.Config(
      base_input.DatasetInputSpecsProvider,
      input_p=pax_fiddle.Config(
          image_input.ImageInput,
          source=numbered,
          split_name='train',
          is_training=True,
          batch_size=4,
          image_size=6,
          channels=1,
      ),
  )
  specs = config.Instantiate().get_input_specs()
  assert tuple(specs.image.shape) == (4, 6, 6, 1)
  assert tuple(specs.labels.shape) == (4, 5)


def test_mixup_blends_each_image_with_the_next_one_by_a_weight_a_batch(
    numbered,
):
  plain = take(make(numbered), 12)
  mixed = take(make(numbered, mixup=0.5), 12)
  weights = []
  for batch, other in zip(plain, mixed):
    values = batch.image[:, 0, 0, 0]
    following = np.roll(values, -1)
    # The two differ for all four examples, so that each gives the weight.
    weight = (other.image[:, 0, 0, 0] - following) / (values - following)
    np.testing.assert_allclose(weight, weight[0], atol=1e-5)
    weights.append(weight[0])
    labels = batch.labels * weight[0] + (1 - weight[0]) * np.roll(
        batch.labels, -1, axis=0
    )
    np.testing.assert_allclose(other.labels, labels, atol=1e-5)
    assert (other.eval_sample_weights == 1).all()
  assert 0.5 <= min(weights) and max(weights) <= 1
  assert len(set(weights)) == 12


def test_mixup_goes_on_exactly_where_it_was_saved(numbered):
  fields = dict(ops=AUGMENT, mixup=0.5)
  whole = take(make(numbered, **fields), 15)
  first = make(numbered, **fields)
  take(first, 7)
  second = make(numbered, **fields)
  second.set_state(first.get_state())
  assert_same(take(second, 8), whole[7:])
  hosts = [
      take(
          make(numbered, mixup=0.5, num_infeed_hosts=2, infeed_host_index=i), 1
      )
      for i in range(2)
  ]
  assert differ(*hosts)


def test_evaluation_does_not_mix(numbered):
  assert_same(
      take_all(make(numbered, train=False, mixup=0.5)),
      take_all(make(numbered, train=False)),
  )


def test_mixup_below_zero_is_refused(numbered):
  with pytest.raises(ValueError, match='set it to 0 for none, or above 0'):
    make(numbered, mixup=-0.5)
