"""What tables of paths and labels mean, and what of them is refused."""

import image_folders
from pax_softmoe.data.prepare import listing
from pax_softmoe.tools import main
import pytest


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
            f'path,label\na.png,{image_folders.COMPOSED}\nb.png,{image_folders.DECOMPOSED}\n',
            {'a.png': image_folders.COMPOSED, 'b.png': image_folders.COMPOSED},
        ),
        ('path,label\na.png,cat;dog\na.png,dog; cat\n', {'a.png': 'cat;dog'}),
        (
            'path,label\ndeep/a.png,cat\n./deep/../b.png,dog\n',
            {'deep/a.png': 'cat', './deep/../b.png': 'dog'},
        ),
    ],
)
def test_table_is_read_as_it_is_meant(tmp_path, text, want):
  assert image_folders.found(table(tmp_path, text)()) == {'train': want}


@pytest.mark.parametrize('name', ['labels.CSV', 'labels.tsv'])
def test_other_suffixes_are_tables_too(tmp_path, name):
  tab = '\t' if name.endswith('tsv') else ','
  text = f'path{tab}label\na.png{tab}cat\n'
  assert image_folders.found(table(tmp_path, text, name)()) == {
      'train': {'a.png': 'cat'}
  }


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
  image_folders.refused(table(tmp_path, text), message)


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
  assert image_folders.found(table(tmp_path, text)()) == {
      'train': {'a.png': 'cat'}
  }


def test_a_path_that_is_a_folder_is_named(tmp_path, capsys):
  image_folders.draw_all(tmp_path, 'sub/a.png')
  table(tmp_path, 'path,label\nsub,cat\nsub/a.png,cat\n')
  arguments = ['data', str(tmp_path / 'labels.csv')]
  assert main.main([*arguments, f'--output={tmp_path / "out"}']) == 1
  assert 'sub: Is a directory' in capsys.readouterr().err.splitlines()
