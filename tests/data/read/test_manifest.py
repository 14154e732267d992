"""What a folder's manifest says, and files that are not its."""

import json

import image_folders
from pax_softmoe import experiments
from pax_softmoe.data.read import image_input
from pax_softmoe.data.read import manifest
from praxis import pax_fiddle
import pytest


@pytest.fixture(name='prepared', scope='module')
def _prepared(tmp_path_factory):
  tmp_path = tmp_path_factory.mktemp('prepared')
  source, output = image_folders.fill(tmp_path / 'images'), tmp_path / 'out'
  assert not image_folders.softmoe(
      source, f'--output={output}', '--validation_fraction=0.2'
  )
  return output


def experiment(prepared, **settings):
  settings = {'DATA_DIR': str(prepared), 'NUM_CLASSES': 3, **settings}
  return experiments.SoftMoES16.with_settings(**settings)()


def test_experiment_takes_classes_and_counts_from_the_manifest(prepared):
  subject = experiment(prepared)
  subject.validate()
  assert tuple(subject.source().class_names) == image_folders.CLASSES
  assert subject.source().num_examples('train') == 28
  assert subject.source().num_examples('validation') == 7
  subject.source().check(full=True)


@pytest.mark.parametrize(
    'settings, message',
    [
        (
            dict(NUM_CLASSES=4),
            'the data has 3 classes and NUM_CLASSES is 4; make them equal',
        ),
        (
            dict(EVAL_SPLITS=('test',)),
            "the data has no split 'test'; set TRAIN_SPLIT and EVAL_SPLITS",
        ),
    ],
)
def test_settings_that_do_not_fit_the_manifest(prepared, settings, message):
  with pytest.raises(ValueError, match=message):
    experiment(prepared, **settings).validate()


def test_changed_file_is_noticed(prepared, tmp_path):
  for path in prepared.iterdir():
    (tmp_path / path.name).write_bytes(path.read_bytes())
  images = manifest.source(str(tmp_path))
  images.check(full=True)
  file = next(tmp_path.glob('train-*'))
  data = bytearray(file.read_bytes())
  data[-30] ^= 1
  file.write_bytes(data)
  with pytest.raises(ValueError, match='not the file of the manifest'):
    images.check(full=True)
  file.unlink()
  with pytest.raises(ValueError, match='here missing.*copy it again'):
    images.check()


def changed(prepared, folder, change):
  """Copies what was prepared, with another manifest, and returns its images."""
  for path in prepared.iterdir():
    (folder / path.name).write_bytes(path.read_bytes())
  made = json.loads((prepared / 'manifest.json').read_text())
  text = change(made)
  text = text if isinstance(text, str) else json.dumps(text)
  (folder / 'manifest.json').write_text(text)
  return manifest.source(str(folder))


def listed_twice(made):
  split = made['splits']['train']
  split['files'].append(split['files'][0])
  split['examples'] += split['files'][0]['examples']
  return made


def overstated(made):
  for count in (made['splits']['train'], made['splits']['train']['files'][0]):
    count['examples'] += 1
  return made


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda made: '{"classes": ', 'Invalid JSON'),
        (lambda made: [made], 'Input should be an object'),
        (lambda made: {**made, 'splits': None}, 'splits: Input should be'),
        (lambda made: {'classes': ['a']}, 'multi_label: Field required'),
        (lambda made: {**made, 'classes': []}, 'classes: List should have at'),
        (
            lambda made: {**made, 'splits': {'train': {'examples': 1}}},
            r'splits.train.files: Field required',
        ),
        (
            lambda made: json.dumps(made).replace('"bytes": ', '"bytes": -'),
            r'splits.train.files.0.bytes: .* greater',
        ),
        (
            lambda made: json.dumps(made).replace('"train-', '"../train-'),
            r'splits.train.files.0.name: ',
        ),
        (
            lambda made: json.dumps(made).replace(
                '"examples": 28', '"examples": 9', 1
            ),
            r'splits.train.examples is 9, its files have 28',
        ),
        (listed_twice, 'train-00000-of-00001.tfrecord is listed 2 times'),
    ],
)
def test_manifest_of_another_form_is_refused(
    prepared, tmp_path, change, message
):
  with pytest.raises(ValueError, match=message) as error:
    changed(prepared, tmp_path, change)
  assert str(error.value).startswith(str(tmp_path / 'manifest.json'))
  assert str(error.value).endswith('softmoe data`, or remove this file')
  assert '\n' not in str(error.value)


def test_manifest_that_overstates_its_examples_is_noticed(
    prepared, tmp_path, monkeypatch
):
  images = changed(prepared, tmp_path, overstated)
  message = 'has 28 records, 29 by the manifest'
  with pytest.raises(ValueError, match=message):
    images.check()
  monkeypatch.setattr(manifest, '_COUNTED', 10)
  with pytest.raises(ValueError, match=message):
    images.check(full=True)
  # Data too large to be counted first.
  images.check()
  inputs = pax_fiddle.Config(
      image_input.ImageInput,
      source=images,
      split_name='train',
      is_training=False,
      batch_size=10,
      image_size=6,
      ops=(lambda image, seed: image[:6, :6],),
  ).Instantiate()
  with pytest.raises(ValueError, match='to contain 29 elements .* only 28'):
    for _ in range(4):
      inputs.get_next()


def table(tmp_path, *rows):
  for value in range(4):
    image_folders.draw(tmp_path / f'images/{value}.png', 10 * value)
  (tmp_path / 'labels.csv').write_text('\n'.join(rows) + '\n')
  return tmp_path / 'labels.csv'


def test_several_labels_need_the_sigmoid_loss(tmp_path):
  source = table(tmp_path, 'path,label', 'images/0.png,a;b', 'images/1.png,a')
  assert not image_folders.softmoe(source, f'--output={tmp_path / "out"}')
  settings = dict(NUM_CLASSES=2, EVAL_SPLITS=('train',))
  experiment(tmp_path / 'out', LOSS='sigmoid', **settings).validate()
  with pytest.raises(ValueError, match="set LOSS to 'sigmoid'"):
    experiment(tmp_path / 'out', LOSS='softmax', **settings).validate()
