"""TensorFlow Datasets as a source, with a data set made here."""

import json

from pax_softmoe.data.read import named
from pax_softmoe.tools import main
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from tensorflow_datasets.core.utils import gcs_utils
import tiny_photos


@pytest.fixture(name='tiny', scope='module')
def _tiny(tmp_path_factory):
  # It would look for the data set in Google's bucket.
  gcs_utils._is_gcs_disabled = True
  folder = tmp_path_factory.mktemp('tfds')
  tiny_photos.TinyPhotos(data_dir=str(folder)).download_and_prepare()
  return folder


@pytest.fixture(autouse=True)
def _data_dir(tiny, monkeypatch):
  """Makes the data set the one that `tfds:tiny_photos` finds."""
  builder = tfds.builder
  monkeypatch.setattr(
      tfds, 'builder', lambda name: builder(name, data_dir=str(tiny))
  )


def pairs(source, split):
  """Returns the value and labels of each image."""
  ds = source.task().get_dataset({}, split, shuffle=False)
  return sorted(
      (int(tf.io.decode_image(e['image'])[0, 0, 0]), e['label'].tolist())
      for e in ds.as_numpy_iterator()
  )


def test_data_dir_names_prepared_files():
  source = named.find('tfds:tiny_photos', num_classes=7)
  assert source.num_classes == 2
  assert source.class_names == ('no', 'yes')
  assert set(source.splits) == {'train', 'test'}
  assert source.num_examples('train') == 10
  source.check()
  assert pairs(source, 'test') == [(i, [i % 2]) for i in range(4)]


def test_command_writes_them_anew_and_holds_out_the_end(tmp_path, capsys):
  output = tmp_path / 'out'
  flags = [f'--output={output}', '--validation_fraction=0.2', '--json']
  assert main.main(['data', 'tfds:tiny_photos', *flags]) == 0
  splits = json.loads(capsys.readouterr().out)['splits']
  assert {s: of['examples'] for s, of in splits.items()} == {
      'train': 8,
      'test': 4,
      'validation': 2,
  }
  source = named.find(str(output), num_classes=0)
  both = pairs(source, 'train') + pairs(source, 'validation')
  assert sorted(both) == [(i, [i % 2]) for i in range(10)]


def test_unknown_name_gives_one_line(tmp_path, capsys):
  flags = ['data', 'tfds:no_such_thing', f'--output={tmp_path / "out"}']
  assert main.main(flags) == 1
  (line,) = [l for l in capsys.readouterr().err.splitlines() if 'softmoe' in l]
  assert 'tfds:no_such_thing cannot be used' in line


def test_missing_package_is_named(monkeypatch):
  import sys

  monkeypatch.setitem(sys.modules, 'tensorflow_datasets', None)
  with pytest.raises(ValueError, match='pip install tensorflow-datasets'):
    named.find('tfds:tiny_photos', num_classes=2)


def test_files_that_are_not_prepared_are_asked_for(tmp_path, monkeypatch):
  builder = tiny_photos.TinyPhotos(data_dir=str(tmp_path))
  monkeypatch.setattr(tfds, 'builder', lambda name: builder)
  with pytest.raises(ValueError, match='prepare them by `softmoe data`'):
    named.find('tfds:tiny_photos', num_classes=2)
