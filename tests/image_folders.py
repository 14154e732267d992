"""Folders of images, to be listed and written."""

import unicodedata

from pax_softmoe.tools import main
from PIL import Image
import pytest

COMPOSED = unicodedata.normalize('NFC', 'café')
DECOMPOSED = unicodedata.normalize('NFD', 'café')
CLASSES = ('cat', 'dog', 'eel')
# Images of each class.
COUNTS = (10, 20, 5)


def draw_all(root, *names):
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


def draw(path, value, size=(8, 6)):
  """Saves an image of one value; PNG and JPEG by turns."""
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.new('RGB', size, (value, value, value)).save(path, quality=95)
  return path


def fill(folder):
  """Draws images of which class n has values from 60 n on, 2 apart."""
  for n, (name, count) in enumerate(zip(CLASSES, COUNTS)):
    for i in range(count):
      suffix = 'png' if i % 2 else 'jpg'
      draw(folder / name / f'{i:02d}.{suffix}', 60 * n + 2 * i)
  return folder


def softmoe(*arguments):
  return main.main(['data', *map(str, arguments)])
