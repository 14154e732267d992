"""What a sweep found, as people read it."""

import dataclasses

from pax_softmoe.tuning import report
from pax_softmoe.tuning import space
from pax_softmoe.tuning import table
from pax_softmoe.tuning import trials as trials_lib
from sweep_results import EXCHANGED
from sweep_results import FakeModel
from sweep_results import results


def test_point_with_low_effort_has_compute_by_arithmetic():
  low = results().points[1]
  assert low.compute_ms == 100
  assert table.columns(low, 30.75)['compute ms'] == '~100'
  assert table.columns(low, 30.75)['HBM GiB of 30.75'] == '16.00'


def test_memory_is_by_arithmetic_without_libtpu():
  trial = trials_lib.Trial(
      space.Point((1, 1, 4, 1), 'expert_parallel', 'full', 60),
      FakeModel().estimate(
          'v4-8', space.Point((1, 1, 4, 1), 'expert_parallel', 'full', 60)
      ),
      low={'status': 'ok', 'target': 'cpu', 'collectives': EXCHANGED},
  )
  result = report.report(FakeModel(), 'E', 'v4-8', [trial], {})
  cells = table.columns(result.points[0], 30.75)
  assert cells['HBM GiB of 30.75'] == '~38.00'
  assert cells['all-to-all GB'] == '0.5'
  assert cells['verdict'].startswith('by arithmetic 7.25 GiB too big')


def test_explanation_without_full_effort_says_so():
  text = table.explain(results().points[1])
  assert 'weights 8.00, kept 8.00' in text
  assert "compiled with effort 'low'" in text


def test_comparison_shows_before_and_after():
  before = results()
  faster = dataclasses.replace(before.points[0], step_ms=90.0)
  after = dataclasses.replace(before, points=[faster, *before.points[1:]])
  rows = table.compare(before, after)
  assert len(rows) == 3
  assert rows[0]['step ms'] == '100 → 90'


def test_points_with_another_first_moment_are_not_compared():
  before = results()
  other = dataclasses.replace(before.points[0], first_moment='bfloat16')
  after = dataclasses.replace(before, points=[other])
  assert table.compare(before, after) == []
