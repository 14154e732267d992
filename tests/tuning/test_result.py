"""What a sweep found, as it is kept."""

import dataclasses
import json

from pax_softmoe.tuning import result
import pytest
from sweep_results import EXCHANGED
from sweep_results import KEYS
from sweep_results import results


def test_json_has_the_fixed_schema():
  got = json.loads(json.dumps(results().as_json()))
  assert (got['experiment'], got['slice'], got['chips']) == ('E', 'v4-8', 4)
  for point in got['points']:
    assert KEYS <= set(point)
  assert [p['effort'] for p in got['points']] == ['full', 'low', 'low']
  assert [p['fits'] for p in got['points']] == [True, True, False]
  assert got['points'][0]['collectives'] == EXCHANGED


def test_what_was_written_is_read_again(tmp_path):
  path = tmp_path / 'sweep.json'
  path.write_text(json.dumps(results().as_json()))
  got = result.read(path)
  assert got.points[0].mesh == (1, 1, 4, 1)
  assert got.as_json() == json.loads(
      json.dumps(results().as_json()), object_hook=_with_tuples
  )


def _with_tuples(found):
  """JSON has lists for tuples; a mesh is read back as a tuple."""
  if 'mesh' in found:
    found['mesh'] = tuple(found['mesh'])
  return found


def test_older_files_hide_nothing_and_know_no_first_moment(tmp_path):
  kept = results().as_json()
  kept['environment'] = {'LIBTPU_INIT_ARGS': '--a=1'}
  row = {'ms': 2.0, 'gb': 0.5}
  for point in kept['points']:
    point['top'] = {'collectives': [dict(row)]}
    point['communication_by_kind'] = point.pop('exchange_by_kind')
    for name in ('first_moment', 'exchange_ms', 'exposed_ms', 'environment'):
      del point[name]
    del point['estimate']['exchange_ms']
  path = tmp_path / 'old.json'
  path.write_text(json.dumps(kept))
  for point, old in zip(result.read(path).points, kept['points']):
    assert point.first_moment is None
    assert point.exchange_ms == point.exposed_ms == old['communication_ms']
    assert point.environment == {'LIBTPU_INIT_ARGS': '--a=1'}
    assert point.exchange_by_kind == old['communication_by_kind']
    assert point.top['collectives'] == [row | {'exposed_ms': 2.0}]


@pytest.mark.parametrize(
    'text, reason',
    [
        ('{', 'Expecting property name'),
        ('[]', 'should be a dictionary'),
        ('{"points": 4}', 'experiment: Field required'),
    ],
)
def test_another_file_is_refused_in_one_line(text, reason, tmp_path):
  path = tmp_path / 'other.json'
  path.write_text(text)
  with pytest.raises(ValueError, match=reason) as raised:
    result.read(path)
  assert str(raised.value).startswith(f'{path} is no result of tune: ')
  assert '\n' not in str(raised.value)


def test_missing_file_is_named(tmp_path):
  with pytest.raises(ValueError, match='no result of tune: .*No such file'):
    result.read(tmp_path / 'none.json')


def test_best_point_with_full_effort_is_stored():
  found = results()
  entry = found.entry({'jax': '0.5.3'})
  assert entry['settings']['REMAT'] == 'full'
  assert entry['settings']['SCAN_LAYERS'] is False
  assert entry['estimate']['step_ms'] == 100
  assert entry['environment'] == found.points[0].environment
  assert entry['versions'] == {'jax': '0.5.3'}
  # One that does not fit, and one of which low effort alone is known.
  best = dataclasses.replace(found.points[0], fits=False)
  none = dataclasses.replace(found, points=[best, *found.points[1:]])
  with pytest.raises(ValueError, match='nothing to store: no point'):
    none.entry({})
