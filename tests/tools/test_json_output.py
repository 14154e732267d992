"""JSON for programs."""

import json

from pax_softmoe.tools import json_output
import pytest


def test_one_document_is_printed(capsys):
  json_output.show({'a': [1, 2.5, None], 'b': {'c': 'é'}})
  assert json.loads(capsys.readouterr().out) == {
      'a': [1, 2.5, None],
      'b': {'c': 'é'},
  }


@pytest.mark.parametrize(
    'result, where',
    [
        ({'points': [{'mfu': float('nan')}]}, 'nan as points[0].mfu'),
        ([1.0, float('inf')], 'inf as [1]'),
        (float('-inf'), '-inf as itself'),
    ],
)
def test_what_json_cannot_hold_is_named(result, where, capsys):
  with pytest.raises(ValueError) as raised:
    json_output.show(result)
  assert where in str(raised.value)
  assert capsys.readouterr().out == ''
