"""What settings take and what they were given, in words."""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Annotated
from typing import Literal

import annotated_types
import numpy as np
from pax_softmoe.experiments import wording
import pytest


@pytest.mark.parametrize(
    'annotation, words',
    [
        (int, 'a whole number'),
        (bool, 'True or False'),
        (Annotated[int, annotated_types.Ge(1)], 'a whole number of 1 or more'),
        (Annotated[float, annotated_types.Gt(0)], 'a number above 0'),
        (Literal['a', 'b'], 'one of a, b'),
        (Annotated[str, wording.OneOf(('x', 'y'))], 'one of x, y'),
        (str | None, 'a text, or None'),
        (Sequence[int], 'a list of whole numbers'),
        (
            Annotated[Sequence[str], annotated_types.Len(1)],
            'a list of texts, at least one',
        ),
        (
            Annotated[Sequence[str], wording.Distinct()],
            'a list of texts, each once',
        ),
        (Mapping[str, float], 'a mapping from texts to numbers'),
        (Annotated[str, wording.Words('a mesh')], 'a mesh'),
    ],
)
def test_words_of_an_annotation(annotation, words):
  assert wording.words(annotation) == words


@pytest.mark.parametrize(
    'value, shown',
    [
        ('4', "'4' (str)"),
        (None, 'None'),
        (np.bool_(True), 'np.True_ (numpy.bool)'),
        ([1, 2], '[1, 2] (list)'),
    ],
)
def test_values_are_shown_with_their_type(value, shown):
  assert wording.shown(value).replace('numpy.bool_', 'numpy.bool') == shown


def test_long_values_and_those_that_cannot_be_printed_are_one_short_line():
  class Broken:

    def __repr__(self):
      raise RuntimeError('no')

  assert len(wording.shown('x\n' * 1000)) < 80
  assert '\n' not in wording.shown('x\ny')
  assert 'Broken' in wording.shown(Broken())
