"""Types of command-line arguments: what is no such value is refused by argparse."""

import argparse
from collections.abc import Callable
import math
import os
import pathlib
import re
from typing import Any

from etils import epath
from pax_softmoe import files


def _checked(
    kind: Callable[[str], Any], good: Callable[[Any], bool], what: str
) -> Callable[[str], Any]:
  def parse(text: str) -> Any:
    try:
      value = kind(text)
    except (ValueError, KeyError):  # The latter of paths of unknown schemes.
      value = None
    if value is None or not good(value):
      raise argparse.ArgumentTypeError(f'got {text!r}; give {what}')
    return value

  return parse


positive_int = _checked(int, lambda n: n > 0, 'a whole number of 1 or more')
natural = _checked(int, lambda n: n >= 0, 'a whole number of 0 or more')
positive_float = _checked(
    float, lambda x: 0 < x < math.inf, 'a number greater than 0'
)
no_less_than_0 = _checked(
    float, lambda x: 0 <= x < math.inf, 'a number of 0 or more'
)
fraction = _checked(float, lambda x: 0 <= x < 1, 'a number from 0 to below 1')
# One slash too few would make a folder of the name of a bucket's scheme.
path = _checked(
    lambda text: text.strip() and epath.Path(text).expanduser(),
    lambda p: p and not re.match(r'(gs|s3|az|https?):/?(?!/)', os.fspath(p)),
    'a path, or a URL such as gs://bucket/folder',
)
# What is computed or run here.
local_path = _checked(
    lambda text: text.strip() and pathlib.Path(text).expanduser(),
    lambda p: p and not re.match(r'\w+:/', os.fspath(p)),
    'a path of this machine',
)


def absolute(given: epath.Path) -> epath.Path:
  """Returns a path that is the same in every folder; URLs are."""
  return given if files.is_remote(given) else epath.Path(os.path.abspath(given))


def list_of(one: Callable[[str], Any]) -> Callable[[str], list[Any]]:
  """Returns the type of values with commas between."""

  def parse(text: str) -> list[Any]:
    return [one(part) for part in text.split(',')]

  parse.__name__ = 'list'
  return parse
