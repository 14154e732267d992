"""Runs pytest on one file, for Bazel."""

import sys

import pytest

if __name__ == '__main__':
  # Bazel makes packages of the folders of tests, and pytest does not look for
  # their helpers in tests/ then.
  sys.path.insert(0, 'tests')
  sys.exit(pytest.main(['-p', 'no:cacheprovider', *sys.argv[1:]]))
