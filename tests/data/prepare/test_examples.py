"""Which split an example is in, and classes without images."""

import collections

from pax_softmoe.data.prepare import examples
import pytest


def test_names_of_splits_in_any_case_and_spelling():
  assert examples.split_of('Train') == 'train'
  assert examples.split_of('val') == 'validation'
  assert examples.split_of('cats') is None


def test_some_names_stand_for_many():
  assert examples.some(['a', 'b']) == 'a, b'
  text = examples.some([f'n{i:03d}' for i in range(100)])
  assert text.startswith('n000') and 'n099' not in text


def test_labels_are_counted_by_class():
  counts = examples.count_classes([(0,), (2, 0), (2,)])
  assert counts == collections.Counter({0: 2, 2: 2})


def test_classes_without_training_images_are_an_error():
  examples.check_trained('x', [], 3)
  with pytest.raises(ValueError, match='eel'):
    examples.check_trained('x', ['eel'], 3)
