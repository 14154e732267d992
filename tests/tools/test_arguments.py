"""Types of command-line arguments."""

import argparse
import os
import pathlib

from etils import epath
from pax_softmoe.tools import arguments
import pytest


@pytest.mark.parametrize(
    'kind, good, bad',
    [
        (arguments.positive_int, {'1': 1, '20': 20}, ['0', '-1', '1.5', 'x']),
        (arguments.natural, {'0': 0}, ['-1', '']),
        (arguments.positive_float, {'0.5': 0.5}, ['0', '-1', 'inf', 'nan']),
        (arguments.no_less_than_0, {'0': 0.0, '2': 2.0}, ['-0.1', 'nan']),
        (arguments.fraction, {'0': 0.0, '0.99': 0.99}, ['1', '-0.1', 'nan']),
    ],
)
def test_numbers(kind, good, bad):
  for text, value in good.items():
    assert kind(text) == value
  for text in bad:
    with pytest.raises(argparse.ArgumentTypeError, match=f"got '{text}'; give"):
      kind(text)


def test_paths_may_be_urls_of_buckets():
  assert arguments.path('gs://b/x') == epath.Path('gs://b/x')
  assert arguments.path('~/x') == epath.Path(os.path.expanduser('~/x'))


@pytest.mark.parametrize('text', ['', ' ', 'gs:/b/x', 's3:b', 'nothing://x'])
def test_urls_that_would_become_folders_are_refused(text):
  with pytest.raises(argparse.ArgumentTypeError, match='a path, or a URL such'):
    arguments.path(text)


def test_what_is_computed_here_has_a_local_path():
  assert arguments.local_path('a/b') == pathlib.Path('a/b')
  with pytest.raises(argparse.ArgumentTypeError, match='of this machine'):
    arguments.local_path('gs://b/x')


def test_absolute_paths_of_urls_are_themselves(monkeypatch, tmp_path):
  monkeypatch.chdir(tmp_path)
  assert arguments.absolute(epath.Path('x')) == epath.Path(tmp_path / 'x')
  assert arguments.absolute(epath.Path('gs://b')) == epath.Path('gs://b')


def test_lists_have_commas_between():
  assert arguments.list_of(arguments.natural)('1,2,0') == [1, 2, 0]
  with pytest.raises(argparse.ArgumentTypeError, match="got ''"):
    arguments.list_of(arguments.natural)('1,')
