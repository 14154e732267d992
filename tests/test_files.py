"""Files that are whole or not there."""

import os

from etils import epath
from pax_softmoe import files
import pytest


def test_a_file_is_replaced_as_a_whole(tmp_path):
  path = epath.Path(tmp_path / 'a.json')
  assert files.read(path) is None
  files.write_whole(path, 'one')
  files.write_whole(path, 'two')
  assert files.read(path) == 'two'
  assert os.listdir(tmp_path) == ['a.json']


def test_the_old_text_stays_where_the_new_one_cannot_be_written(
    tmp_path, monkeypatch
):
  path = epath.Path(tmp_path / 'a.json')
  files.write_whole(path, 'old')

  def full(*_):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(files.os, 'replace', full)
  with pytest.raises(OSError, match='No space left'):
    files.write_whole(path, 'new')
  assert files.read(path) == 'old'
  assert os.listdir(tmp_path) == ['a.json']


@pytest.mark.parametrize(
    'path, remote', [('gs://b/x', True), ('/a/b', False), ('a', False)]
)
def test_urls_are_remote(path, remote):
  assert files.is_remote(path) == remote


def test_an_unknown_scheme_is_no_missing_file():
  with pytest.raises(ValueError, match='nothing://x: no such scheme; give'):
    files.exists('nothing://x')


def test_a_file_is_no_folder(tmp_path):
  (tmp_path / 'a').touch()
  assert files.exists(tmp_path / 'a') and not files.is_folder(tmp_path / 'a')
  assert files.is_folder(tmp_path)
  assert not files.exists(tmp_path / 'b')
