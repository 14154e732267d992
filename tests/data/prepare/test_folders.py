"""Which images of a folder are found, and what of it is said."""

import os

import image_folders
from pax_softmoe.data.prepare import listing
import pytest


def test_files_that_are_no_images_are_counted_and_named(tmp_path):
  image_folders.draw_all(
      tmp_path, 'cat/1.png', 'dog/1.png', '__MACOSX/cat/._1.png', 'cat/.2.png'
  )
  for name in ('README.txt', 'cat/.DS_Store', 'dog/Thumbs.db', 'cat/raw/a.txt'):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b'text')
  got = listing.find(str(tmp_path), 0.0)
  assert image_folders.found(got) == {
      'train': {'cat/1.png': 'cat', 'dog/1.png': 'dog'}
  }
  assert got.notes == [
      (
          '4 hidden files or files of a system were left out: __MACOSX,'
          ' cat/.2.png, cat/.DS_Store, …'
      ),
      '2 files beside the images were left out: README.txt, cat/raw/a.txt',
  ]


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
  image_folders.draw_all(tmp_path, *names)
  image_folders.refused(lambda: listing.folder(tmp_path, 0.0), message)


def test_an_empty_class_is_an_error(tmp_path):
  image_folders.draw_all(tmp_path, 'cat/1.png')
  (tmp_path / 'dog').mkdir()
  image_folders.refused(
      lambda: listing.folder(tmp_path, 0.0), 'no image to train on: dog'
  )


def test_splits_are_known_in_any_case(tmp_path):
  image_folders.draw_all(
      tmp_path, 'Train/cat/1.png', 'Val/cat/2.png', 'TEST/cat/3.png'
  )
  assert image_folders.found(listing.folder(tmp_path, 0.0)) == {
      'train': {'Train/cat/1.png': 'cat'},
      'validation': {'Val/cat/2.png': 'cat'},
      'test': {'TEST/cat/3.png': 'cat'},
  }


def test_a_class_may_be_called_train(tmp_path):
  image_folders.draw_all(tmp_path, 'train/1.png', 'bus/2.png')
  assert image_folders.found(listing.folder(tmp_path, 0.0)) == {
      'train': {'train/1.png': 'train', 'bus/2.png': 'bus'}
  }


def test_spellings_of_a_class_are_one_class(tmp_path):
  image_folders.draw_all(
      tmp_path,
      f'train/{image_folders.COMPOSED}/1.png',
      f'val/{image_folders.DECOMPOSED}/2.png',
      'train/dog/1.png',
      'val/dog /2.png',
      'train/Dog/3.png',
  )
  got = listing.folder(tmp_path, 0.0)
  assert got.classes == ['Dog', image_folders.COMPOSED, 'dog']
  assert image_folders.found(got)['validation'] == {
      f'val/{image_folders.DECOMPOSED}/2.png': image_folders.COMPOSED,
      'val/dog /2.png': 'dog',
  }
  assert got.notes == [
      f'2 spellings of {image_folders.COMPOSED!r} were taken as one class',
      "2 spellings of 'dog' were taken as one class",
      'classes differ only in the case of letters: Dog, dog',
  ]


def test_names_that_are_not_utf8_are_an_error(tmp_path):
  image_folders.draw_all(tmp_path, 'cat/1.png')
  os.close(os.open(os.fsencode(tmp_path) + b'/cat/caf\xe9.png', os.O_CREAT))
  image_folders.refused(
      lambda: listing.folder(tmp_path, 0.0),
      r"1 names are not UTF-8: 'cat/caf\\xe9.png'; rename",
  )


def test_links_in_a_circle_end(tmp_path):
  image_folders.draw_all(tmp_path, 'cat/1.png')
  (tmp_path / 'cat' / 'again').symlink_to(tmp_path)
  (tmp_path / 'again').symlink_to(tmp_path)
  image_folders.draw_all(tmp_path.parent / 'elsewhere', '2.png')
  (tmp_path / 'dog').symlink_to(tmp_path.parent / 'elsewhere')
  got = listing.folder(tmp_path, 0.0)
  assert image_folders.found(got)['train'] == {
      'cat/1.png': 'cat',
      'dog/2.png': 'dog',
  }
  assert got.notes == [
      '2 links to a folder that they lie in were left out: again, cat/again'
  ]
