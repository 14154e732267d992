"""`softmoe data` and what experiments make of it, on images drawn here."""

import collections
import csv
import hashlib
import json
import shlex

import image_folders
import numpy as np
from pax_softmoe.data.prepare import listing
from pax_softmoe.data.read import image_input
from pax_softmoe.data.read import named
from pax_softmoe.tools import jobs
from praxis import pax_fiddle
import pytest
import tensorflow as tf


def read(output, split):
  """Returns the examples of a split as (name, value, labels), as TF sees them."""
  rows = []
  for path in sorted(output.glob(f'{split}-*.tfrecord')):
    for record in tf.data.TFRecordDataset(str(path)):
      feature = tf.train.Example.FromString(record.numpy()).features.feature
      image = tf.io.decode_image(feature['image'].bytes_list.value[0])
      rows.append((
          feature['name'].bytes_list.value[0].decode(),
          int(image[0, 0, 0]),
          list(feature['label'].int64_list.value),
      ))
  return rows


def test_folder_becomes_records_with_a_manifest(tmp_path, capsys):
  source, output = image_folders.fill(tmp_path / 'images'), tmp_path / 'out'
  image_folders.draw(source / 'cat' / 'large.png', 1, size=(40, 30))
  arguments = source, f'--output={output}', '--images_per_shard=12'
  assert (
      image_folders.softmoe(*arguments, '--validation_fraction=0.2', '--json')
      == 0
  )
  made = json.loads(capsys.readouterr().out)
  assert made == json.loads((output / 'manifest.json').read_text())
  assert made['classes'] == list(image_folders.CLASSES)
  assert made['multi_label'] is False
  # A fifth of 11, 20 and 5, rounded.
  assert made['splits']['validation']['examples_of_classes'] == [2, 4, 1]
  assert made['splits']['train']['examples_of_classes'] == [9, 16, 4]
  assert made['image_sizes'] == {'smallest': [6, 8], 'largest': [30, 40]}
  seen = []
  for split, of in made['splits'].items():
    assert [f['examples'] for f in of['files']] == (
        [12, 12, 5] if split == 'train' else [7]
    )
    for file in of['files']:
      data = (output / file['name']).read_bytes()
      assert len(data) == file['bytes']
      assert hashlib.sha256(data).hexdigest() == file['sha256']
    rows = read(output, split)
    assert len(rows) == of['examples']
    seen += rows
  assert len({name for name, _, _ in seen}) == 36
  for name, value, labels in seen:
    label, file = name.split('/')
    assert labels == [image_folders.CLASSES.index(label)]
    if file != 'large.png':
      assert value == 60 * labels[0] + 2 * int(file[:2])
  # Classes do not come one after the other.
  labels = [labels[0] for _, _, labels in read(output, 'train')]
  assert np.count_nonzero(np.diff(labels)) > 8


def test_split_depends_on_names_only_and_files_are_repeated_exactly(tmp_path):
  source = image_folders.fill(tmp_path / 'images')
  for name in ('a', 'b'):
    assert not image_folders.softmoe(
        source, f'--output={tmp_path / name}', '--validation_fraction=0.3'
    )
  texts = [(tmp_path / n / 'manifest.json').read_text() for n in 'ab']
  assert texts[0] == texts[1]
  examples = [
      listing.Example(f'{i}', (i % 2,), lambda: b'') for i in range(200)
  ]
  kept, part = listing.split_off(examples, 0.25)
  assert collections.Counter(e.labels[0] for e in part) == {0: 25, 1: 25}
  _, again = listing.split_off(examples[::-1], 0.25)
  assert {e.name for e in part} == {e.name for e in again}
  assert not {e.name for e in part} & {e.name for e in kept}


def test_folders_called_like_splits_are_splits(tmp_path, capsys):
  for split in ('train', 'val'):
    image_folders.draw(tmp_path / 'images' / split / 'cat' / '0.png', 1)
  image_folders.draw(tmp_path / 'images/train/dog/0.png', 2)
  output = tmp_path / 'out'
  assert not image_folders.softmoe(tmp_path / 'images', f'--output={output}')
  splits = json.loads((output / 'manifest.json').read_text())['splits']
  assert {s: of['examples_of_classes'] for s, of in splits.items()} == {
      'train': [1, 1],
      'validation': [1, 0],
  }
  lines = capsys.readouterr().out.splitlines()
  commands = [l.split('  ')[-1].strip() for l in lines if 'softmoe train' in l]
  assert len(commands) == 2
  for command in commands:
    _, _, name, *words = shlex.split(command)
    settings = jobs.parse_settings([w for w in words if w != '--set'])
    assert settings == {
        'DATA_DIR': str(output),
        'NUM_CLASSES': 2,
        'EVAL_SPLITS': ('validation',),
    }
    subject = jobs.find_experiment(name).with_settings(**settings)()
    subject.validate()
    # It can read what was written: 8 x 6 pixels in colour.
    settings = dict(TRAIN_BATCH_SIZE=2, EVAL_BATCH_SIZE=2)
    subject = type(subject).with_settings(**settings)()
    train, evaluated = (d.Instantiate() for d in subject.datasets())
    size, channels = subject.IMAGE_SIZE, subject.CHANNELS
    for inputs in (train, evaluated):
      assert inputs.get_next().image.shape == (2, size, size, channels)


def write_bad(source):
  (source / 'dog' / 'text.png').write_text('no image')
  (source / 'dog' / 'empty.jpg').touch()
  cut = (source / 'cat' / '00.jpg').read_bytes()[:-40]
  (source / 'cat' / 'cut.jpg').write_bytes(cut)
  return {
      'dog/text.png': (
          'no PNG, JPEG, GIF, BMP, TIFF or WebP file; convert it to PNG or JPEG'
      ),
      'dog/empty.jpg': 'the file is empty; copy it again',
      # What Pillow says of it differs between its versions.
      'cat/cut.jpg': 'the file is damaged (',
  }


def test_bad_images_are_all_named_and_nothing_is_left(tmp_path, capsys):
  source = image_folders.fill(tmp_path / 'images')
  bad = write_bad(source)
  assert image_folders.softmoe(source, f'--output={tmp_path / "out"}') == 1
  lines = capsys.readouterr().err.splitlines()
  for name, reason in bad.items():
    assert any(line.startswith(f'{name}: {reason}') for line in lines)
  assert lines[-1].startswith(
      'softmoe: 3 of 38 images cannot be read, so nothing was written;'
  )
  assert [p.name for p in tmp_path.iterdir()] == ['images']


def test_bad_images_are_left_out_if_wanted(tmp_path):
  source, output = image_folders.fill(tmp_path / 'images'), tmp_path / 'out'
  bad = write_bad(source)
  assert image_folders.softmoe(source, f'--output={output}', '--skip_bad') == 0
  with (output / 'skipped.csv').open(newline='') as file:
    got = {row['path']: row['reason'] for row in csv.DictReader(file)}
  assert set(got) == set(bad)
  assert all(got[name].startswith(reason) for name, reason in bad.items())
  assert len(read(output, 'train')) == sum(image_folders.COUNTS)


def table(tmp_path, *rows):
  for value in range(4):
    image_folders.draw(tmp_path / f'images/{value}.png', 10 * value)
  (tmp_path / 'labels.csv').write_text('\n'.join(rows) + '\n')
  return tmp_path / 'labels.csv'


def test_csv_of_several_labels_trains_as_multi_hot(tmp_path):
  source = table(
      tmp_path,
      'label,path,split',
      'sea; boat,images/0.png,train',
      'sea,images/1.png,train',
      'sky;sea,images/2.png,train',
      'boat,images/3.png,val',
  )
  output = tmp_path / 'out'
  assert image_folders.softmoe(source, f'--output={output}') == 0
  images = named.find(str(output), num_classes=99)
  assert images.num_classes == 3
  assert images.class_names == ('boat', 'sea', 'sky')
  assert images.multi_label
  batch = pax_fiddle.Config(
      image_input.ImageInput,
      source=images,
      split_name='train',
      is_training=False,
      batch_size=3,
      image_size=6,
      ops=(lambda image, seed: image[:6, :6],),
  )
  batch = batch.Instantiate().get_next()
  got = {
      int(image[0, 0, 0]): labels.tolist()
      for image, labels in zip(batch.image, batch.labels)
  }
  assert got == {0: [1, 1, 0], 10: [0, 1, 0], 20: [0, 1, 1]}


def test_numbers_in_a_csv_are_indices(tmp_path):
  source = table(tmp_path, 'path,label', 'images/0.png,10', 'images/1.png,2')
  found = listing.csv_file(source, 0.0)
  assert list(found.classes) == [str(i) for i in range(11)]
  assert {e.name: e.labels for e in found.splits['train']} == {
      'images/0.png': (10,),
      'images/1.png': (2,),
  }


@pytest.mark.parametrize(
    'rows, message',
    [
        (('path,class', 'images/0.png,a'), "no column 'label' among"),
        (('path,label', 'images/0.png,a', ',b'), 'line 3: it needs a path'),
        (('path,label', 'images/0.png, ; '), 'line 2: it needs a path'),
        (
            ('path,label,split', 'images/0.png,a,dev'),
            "line 2: the split is 'dev'",
        ),
        (('path,label',), 'there is no image'),
    ],
)
def test_csv_that_is_wrong_is_refused(rows, message, tmp_path, capsys):
  source = table(tmp_path, *rows)
  assert image_folders.softmoe(source, f'--output={tmp_path / "out"}') == 1
  (line,) = capsys.readouterr().err.splitlines()
  assert message in line


def test_missing_file_of_a_csv_is_named(tmp_path, capsys):
  source = table(tmp_path, 'path,label', 'images/0.png,a', 'images/9.png,a')
  assert image_folders.softmoe(source, f'--output={tmp_path / "out"}') == 1
  assert 'images/9.png: No such file or directory' in capsys.readouterr().err


@pytest.mark.parametrize(
    'flags, code, message',
    [
        ([], 1, 'out: it is there already; give another --output'),
        (['--validation_fraction=1'], 2, 'give a number from 0 to below 1'),
        (['--images_per_shard=0'], 2, 'give a whole number of 1 or more'),
    ],
)
def test_bad_arguments_give_one_line(flags, code, message, tmp_path, capsys):
  output = tmp_path / 'out'
  source = image_folders.fill(tmp_path / 'images')
  output.mkdir()
  assert image_folders.softmoe(source, f'--output={output}', *flags) == code
  assert message in capsys.readouterr().err.splitlines()[-1]


def test_folder_without_classes_is_refused(tmp_path, capsys):
  image_folders.draw(tmp_path / 'images' / '0.png', 1)
  for source in (tmp_path / 'images', tmp_path / 'none'):
    assert image_folders.softmoe(source, f'--output={tmp_path / "out"}') == 1
    assert str(source) in capsys.readouterr().err
