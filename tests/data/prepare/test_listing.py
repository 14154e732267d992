"""What `softmoe data` finds in folders and tables, and what it says of the rest."""

import os
import unicodedata

from pax_softmoe.data.prepare import listing
from pax_softmoe.tools import main
from PIL import Image
import pytest

COMPOSED = unicodedata.normalize('NFC', 'café')
DECOMPOSED = unicodedata.normalize('NFD', 'café')


def draw(root, *names):
  """Saves a small image under each name; returns the root."""
  for name in names:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', (4, 4), (9, 8, 7)).save(path, 'PNG')
  return root


def found(listed):
  """Returns the names of each split with the names of their classes."""
  return {
      split: {
          e.name: ';'.join(listed.classes[i] for i in e.labels)
          for e in examples
      }
      for split, examples in listed.splits.items()
  }


def refused(find, message):
  with pytest.raises(ValueError, match=message) as error:
    find()
  assert '\n' not in str(error.value)


def test_files_that_are_no_images_are_counted_and_named(tmp_path):
  draw(tmp_path, 'cat/1.png', 'dog/1.png', '__MACOSX/cat/._1.png', 'cat/.2.png')
  for name in ('README.txt', 'cat/.DS_Store', 'dog/Thumbs.db', 'cat/raw/a.txt'):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b'text')
  got = listing.find(str(tmp_path), 0.0)
  assert found(got) == {'train': {'cat/1.png': 'cat', 'dog/1.png': 'dog'}}
  assert got.notes == [
      (
          '4 hidden files or files of a system were left out: __MACOSX,'
          ' cat/.2.png, cat/.DS_Store, …'
      ),
      '2 files beside the images were left out: README.txt, cat/raw/a.txt',
  ]


def test_notes_are_printed_and_kept(tmp_path, capsys):
  draw(tmp_path / 'in', 'cat/1.png', 'cat/.hidden.png')
  output = tmp_path / 'out'
  assert main.main(['data', str(tmp_path / 'in'), f'--output={output}']) == 0
  note = '1 hidden files or files of a system were left out: cat/.hidden.png'
  assert f'note         {note}' in capsys.readouterr().out.splitlines()
  assert note in (output / 'manifest.json').read_text()


@pytest.mark.parametrize(
    'names, message',
    [
        (
            ['cat/1.png', 'cat/more/2.png', 'cat/more/3/3.JPG'],
            r'2 images lie in sub-folders of classes: .*; move them .*/cat if',
        ),
        (
            ['cat/1.png', '1.png', '2.gif'],
            '2 images lie beside .*: 1.png, 2.gif;',
        ),
        (['cat/1.png', 'no_suffix'], '1 images lie beside .*: no_suffix;'),
        (
            ['train/cat/1.png', 'train/2.png'],
            r'1 images lie beside .*: train/2',
        ),
        (
            ['train/cat/1.png', 'val/cat/2.png', 'extra/cat/3.png'],
            'train, val are splits, and extra beside them are not',
        ),
        (
            ['train/cat/1.png', 'val/cat/1.png', 'val/dog/2.png'],
            '1 of 2 classes have no image to train on: dog;',
        ),
    ],
)
def test_images_that_would_be_left_out_are_an_error(tmp_path, names, message):
  draw(tmp_path, *names)
  refused(lambda: listing.folder(tmp_path, 0.0), message)


def test_an_empty_class_is_an_error(tmp_path):
  draw(tmp_path, 'cat/1.png')
  (tmp_path / 'dog').mkdir()
  refused(lambda: listing.folder(tmp_path, 0.0), 'no image to train on: dog')


def test_splits_are_known_in_any_case(tmp_path):
  draw(tmp_path, 'Train/cat/1.png', 'Val/cat/2.png', 'TEST/cat/3.png')
  assert found(listing.folder(tmp_path, 0.0)) == {
      'train': {'Train/cat/1.png': 'cat'},
      'validation': {'Val/cat/2.png': 'cat'},
      'test': {'TEST/cat/3.png': 'cat'},
  }


def test_a_class_may_be_called_train(tmp_path):
  draw(tmp_path, 'train/1.png', 'bus/2.png')
  assert found(listing.folder(tmp_path, 0.0)) == {
      'train': {'train/1.png': 'train', 'bus/2.png': 'bus'}
  }


def test_spellings_of_a_class_are_one_class(tmp_path):
  draw(
      tmp_path,
      f'train/{COMPOSED}/1.png',
      f'val/{DECOMPOSED}/2.png',
      'train/dog/1.png',
      'val/dog /2.png',
      'train/Dog/3.png',
  )
  got = listing.folder(tmp_path, 0.0)
  assert got.classes == ['Dog', COMPOSED, 'dog']
  assert found(got)['validation'] == {
      f'val/{DECOMPOSED}/2.png': COMPOSED,
      'val/dog /2.png': 'dog',
  }
  assert got.notes == [
      f'2 spellings of {COMPOSED!r} were taken as one class',
      "2 spellings of 'dog' were taken as one class",
      'classes differ only in the case of letters: Dog, dog',
  ]


def test_names_that_are_not_utf8_are_an_error(tmp_path):
  draw(tmp_path, 'cat/1.png')
  os.close(os.open(os.fsencode(tmp_path) + b'/cat/caf\xe9.png', os.O_CREAT))
  refused(
      lambda: listing.folder(tmp_path, 0.0),
      r"1 names are not UTF-8: 'cat/caf\\xe9.png'; rename",
  )


def test_links_in_a_circle_end(tmp_path):
  draw(tmp_path, 'cat/1.png')
  (tmp_path / 'cat' / 'again').symlink_to(tmp_path)
  (tmp_path / 'again').symlink_to(tmp_path)
  draw(tmp_path.parent / 'elsewhere', '2.png')
  (tmp_path / 'dog').symlink_to(tmp_path.parent / 'elsewhere')
  got = listing.folder(tmp_path, 0.0)
  assert found(got)['train'] == {'cat/1.png': 'cat', 'dog/2.png': 'dog'}
  assert got.notes == [
      '2 links to a folder that they lie in were left out: again, cat/again'
  ]


def test_holding_out_all_of_a_class_is_an_error(tmp_path):
  draw(tmp_path, 'cat/1.png', *(f'dog/{i}.png' for i in range(9)))
  refused(lambda: listing.folder(tmp_path, 0.6), 'to train on: cat; .*lower')
  refused(lambda: listing.folder(tmp_path, 0.01), 'no image in validation')


def test_a_class_whose_images_are_all_bad_is_an_error(tmp_path, capsys):
  draw(tmp_path / 'in', 'cat/1.png')
  (tmp_path / 'in/dog').mkdir()
  (tmp_path / 'in/dog/1.png').write_bytes(b'no image')
  arguments = ['data', str(tmp_path / 'in'), f'--output={tmp_path / "out"}']
  assert main.main([*arguments, '--skip_bad']) == 1
  assert 'no image to train on: dog;' in capsys.readouterr().err
  assert [p.name for p in tmp_path.iterdir()] == ['in']


def table(folder, text, name='labels.csv'):
  path = folder / name
  path.write_bytes(text if isinstance(text, bytes) else text.encode())
  return lambda: listing.find(str(path), 0.0)


@pytest.mark.parametrize(
    'text, want',
    [
        ('path,label\na.png,cat\n', {'a.png': 'cat'}),
        ('\ufeffpath,label\r\na.png,cat\r\n', {'a.png': 'cat'}),
        (
            'path,label\ra.png,cat\rb.png,dog\r',
            {'a.png': 'cat', 'b.png': 'dog'},
        ),
        (' Path , LABEL \n a.png , cat \n\n', {'a.png': 'cat'}),
        ('path,label\na.png,"cat, wild"\n', {'a.png': 'cat, wild'}),
        ('path,label\na.png,"a ""big"" cat"\n', {'a.png': 'a "big" cat'}),
        (
            'path,label\na.png,"red\ncat"\nb.png,x\n',
            {'a.png': 'red\ncat', 'b.png': 'x'},
        ),
        ('path,label\na.png,red\u2028cat\n', {'a.png': 'red\u2028cat'}),
        ('path,label,text\na.png,cat,"one\ntwo, three"\n', {'a.png': 'cat'}),
        (
            f'path,label\na.png,{COMPOSED}\nb.png,{DECOMPOSED}\n',
            {'a.png': COMPOSED, 'b.png': COMPOSED},
        ),
        ('path,label\na.png,cat;dog\na.png,dog; cat\n', {'a.png': 'cat;dog'}),
        (
            'path,label\ndeep/a.png,cat\n./deep/../b.png,dog\n',
            {'deep/a.png': 'cat', './deep/../b.png': 'dog'},
        ),
    ],
)
def test_table_is_read_as_it_is_meant(tmp_path, text, want):
  assert found(table(tmp_path, text)()) == {'train': want}


@pytest.mark.parametrize('name', ['labels.CSV', 'labels.tsv'])
def test_other_suffixes_are_tables_too(tmp_path, name):
  tab = '\t' if name.endswith('tsv') else ','
  text = f'path{tab}label\na.png{tab}cat\n'
  assert found(table(tmp_path, text, name)()) == {'train': {'a.png': 'cat'}}


@pytest.mark.parametrize(
    'text, message',
    [
        ('', "no column 'path' among"),
        ('path;label\na.png;cat\n', 'separated by semicolons'),
        ('path\tlabel\na.png\tcat\n', 'separated by tabs'),
        ('path,label,\na.png,cat,\n', 'the name of column 3 is empty'),
        ('path,label,Label\na.png,cat,x\n', "of column 3 is 'label' again"),
        ('path,label\na.png,cat, wild\n', 'line 2: it has 3 values for 2 col'),
        ('path,label\na.png,cat\nb.png\n', 'line 3: it has 1 values for 2'),
        (
            'path,label\nx.png,y\na.png,"cat\nb.png,dog\n',
            'line 3: a double quote',
        ),
        ('path,label\na.png,"cat\nb.png,"dog\n', 'line 2: a double quote'),
        ('path,label\na.png,"cat\nb.png,dog"\n', 'line 2: a value goes over'),
        (
            'path,label,split\na.png,"cat,train\nb.png,dog",train\n',
            'line 2: a value goes over',
        ),
        (
            'path,label,split\n"a\nb.png,dog",train,\n',
            'line 2: a value goes over',
        ),
        (
            'path,label\na.png,cat\n./a.png,dog\n',
            'line 3: ./a.png is in line 2',
        ),
        (
            'path,label,split\na.png,cat,train\na.png,cat,val\n',
            'line 3: a.png is in line 2 with another label or split; put all',
        ),
        ('path,label\na.png,0\nb.png,-1\n', 'line 3: the label -1 is negative'),
        ('path,label\na.png,1.0\nb.png,2.0\n', 'label 1.0 is no whole number'),
        (
            'path,label\na.png,7800000001\n',
            'more than 1,000,000 classes; count',
        ),
        (
            'path,label,split\na.png,a,train\nb.png,b,\n',
            "line 3: the split is ''",
        ),
        (
            'path,label,split\na.png,a,trian\n',
            "line 2: the split is 'trian'; g",
        ),
        (
            b'path,label\na.png,caf\xe9\n',
            'no text in UTF-8.*; save it as UTF-8',
        ),
        (
            'path,label,split\na.png,a,train\nb.png,b,val\n',
            '1 of 2 classes have no image to train on: b',
        ),
    ],
)
def test_table_that_is_wrong_is_refused(tmp_path, text, message):
  refused(table(tmp_path, text), message)


def test_what_is_doubtful_is_said(tmp_path):
  mixed = table(tmp_path, 'path,label\na.png,1\nb.png,cat\nc.png,2\n')()
  assert mixed.classes == ['1', '2', 'cat']
  assert mixed.notes == [
      '2 labels are numbers (1, 2) and were taken as names, since others are'
      ' none (cat)'
  ]
  gaps = table(tmp_path, 'path,label\na.png,4\nb.png,1\nb.png,1\n')()
  assert gaps.classes == ['0', '1', '2', '3', '4']
  assert gaps.notes == [
      '1 rows repeat another and were left out: b.png',
      '3 of 5 classes have no image to train on: 0, 2, 3',
  ]


def test_an_empty_split_column_means_training(tmp_path):
  text = 'path,label,split\na.png,cat,\n'
  assert found(table(tmp_path, text)()) == {'train': {'a.png': 'cat'}}


def test_a_path_that_is_a_folder_is_named(tmp_path, capsys):
  draw(tmp_path, 'sub/a.png')
  table(tmp_path, 'path,label\nsub,cat\nsub/a.png,cat\n')
  arguments = ['data', str(tmp_path / 'labels.csv')]
  assert main.main([*arguments, f'--output={tmp_path / "out"}']) == 1
  assert 'sub: Is a directory' in capsys.readouterr().err.splitlines()
