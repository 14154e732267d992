"""What a sweep found, for programs and for people."""

import json

from pax_softmoe import experiments
from pax_softmoe.experiments import stored
from pax_softmoe.tuning import arithmetic
from pax_softmoe.tuning import picture
from pax_softmoe.tuning import report
from pax_softmoe.tuning import space
from pax_softmoe.tuning import trials as trials_lib
import pytest
from sweep_results import EXCHANGED
from sweep_results import KEYS
from sweep_results import FakeModel
from sweep_results import results


def test_json_has_the_fixed_schema():
  got = json.loads(json.dumps(results()))
  assert (got['experiment'], got['slice'], got['chips']) == ('E', 'v4-8', 4)
  for point in got['points']:
    assert KEYS <= set(point)
  assert [p['effort'] for p in got['points']] == ['full', 'low', 'low']
  assert [p['fits'] for p in got['points']] == [True, True, False]
  assert got['points'][0]['collectives'] == EXCHANGED


def test_time_and_utilization_of_the_best_point():
  best = results()['points'][0]
  assert best['step_ms'] == 100
  assert best['images_per_second_per_chip'] == 160
  # 16 images of 3 x 275 GFLOP in 0.1 s, of 275 TFLOP/s.
  assert best['mfu'] == pytest.approx(3 * 16 * 1e-3 / 0.1)


def test_point_with_low_effort_has_compute_by_arithmetic():
  low = results()['points'][1]
  assert low['compute_ms'] == 100
  assert report.columns(low)['compute ms'] == '~100'
  assert report.columns(low)[report.HBM] == '16.00'


def test_point_out_of_memory_says_by_how_much_and_what_to_do():
  # 9.25 GiB are 18.5 images; remat alone saves 8.
  assert results()['points'][2]['verdict'] == (
      '9.25 GiB too big; try 24 images a chip'
  )


def test_change_that_cannot_run_is_not_advised():
  class Picky(FakeModel):

    def estimate(self, slice_name, point):
      if point.images_per_chip < 48:
        raise ValueError('groups of 48 images')
      return super().estimate(slice_name, point)

  point = space.Point((1, 1, 4, 1), 'expert_parallel', 'none', 48)
  got = report.what_would_fit(Picky(), 'v4-8', point, excess=7.0)
  assert got == ['remat full']


def test_memory_is_by_arithmetic_without_libtpu():
  trial = trials_lib.Trial(
      space.Point((1, 1, 4, 1), 'expert_parallel', 'full', 60),
      FakeModel().estimate(
          'v4-8', space.Point((1, 1, 4, 1), 'expert_parallel', 'full', 60)
      ),
      low={'status': 'ok', 'target': 'cpu', 'collectives': EXCHANGED},
  )
  result = report.as_json(FakeModel(), 'E', 'v4-8', [trial], {})
  cells = report.columns(result['points'][0])
  assert cells[report.HBM] == '~38.00'
  assert cells['all-to-all GB'] == '0.5'
  assert cells['verdict'].startswith('by arithmetic 7.25 GiB too big')


def test_explanation_without_full_effort_says_so():
  text = report.explain(results()['points'][1])
  assert 'weights 8.00, kept 8.00' in text
  assert "compiled with effort 'low'" in text


def test_comparison_shows_before_and_after():
  before, after = results(), results()
  after['points'][0]['step_ms'] = 90.0
  rows = report.compare(before, after)
  assert len(rows) == 3
  assert rows[0]['step ms'] == '100 → 90'


def test_several_slices_sum_up_gradients_besides():
  one, two = results(), results('2xv4-8')
  assert (two['slice'], two['chips']) == ('2xv4-8', 8)
  before, after = one['points'][0], two['points'][0]
  # 2 slices x 4 chips x 1 ms of the pretended model.
  assert after['communication_ms'] == before['communication_ms'] + 8
  assert after['step_ms'] == 108
  assert after['communication_by_kind']['between slices'] == 8
  assert after['mfu'] == pytest.approx(before['mfu'] * 100 / 108)
  assert after['settings'] == before['settings'] | {
      'DCN_MESH_SHAPE': (2, 1, 1, 1),
      'TRAIN_BATCH_SIZE': 2 * 4 * 16,
      'EVAL_BATCH_SIZE': 2 * 4 * 16,
  }
  assert 'on paper' in two['note'] and 'on paper' not in one['note']


def test_gradients_between_slices():
  got = arithmetic.Model(experiments.SoftMoEH14).dcn_seconds(2, 64)
  # 27.3 B parameters in bfloat16, in 64 parts, there and back by half.
  want = 27_318_132_649 * 2 / 64 / 6.25e9
  assert got == pytest.approx(want)
  four = arithmetic.Model(experiments.SoftMoEH14).dcn_seconds(4, 64)
  assert four == pytest.approx(1.5 * want)


def test_best_point_with_full_effort_is_stored():
  result = results()
  entry = stored.entry(result, {'jax': '0.5.3'})
  assert entry['settings']['REMAT'] == 'full'
  assert entry['settings']['SCAN_LAYERS'] is False
  assert entry['estimate']['step_ms'] == 100
  assert entry['environment'] == result['environment']
  assert entry['versions'] == {'jax': '0.5.3'}
  # One that does not fit, and one of which low effort alone is known.
  result['points'][0]['fits'] = False
  with pytest.raises(ValueError, match='nothing to store: no point'):
    stored.entry(result, {})


def test_pareto_front():
  cases = [(10, 3.0), (12, 4.0), (14, 2.0), (16, 2.5), (18, 1.0)]
  points = [
      {'hbm_gib': gib, 'step_ms': ms, 'images_per_chip': 1} for gib, ms in cases
  ]
  front = [(p['hbm_gib'], p['step_ms']) for p in picture.pareto(points)]
  assert front == [(10, 3.0), (14, 2.0), (18, 1.0)]


def test_picture_is_drawn(tmp_path):
  picture.draw(results(), tmp_path / 'tune.png')
  assert (tmp_path / 'tune.png').read_bytes().startswith(b'\x89PNG')
