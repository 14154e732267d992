"""Runs pytest on one file, for Bazel."""

import pathlib
import sys

import pytest

if __name__ == '__main__':
  path = pathlib.Path(sys.argv[1])
  # Helpers lie beside the tests and in tests/; Bazel makes packages of both, and
  # pytest does not look for them there then.
  folder = path.absolute().parent
  sys.path[:0] = [str(folder), 'tests']
  arguments = ['--import-mode=importlib', '-p', 'no:cacheprovider']
  sys.exit(pytest.main([*arguments, *sys.argv[1:]]))
