"""What a sweep found, for programs and for people."""

import json

from pax_softmoe.tools import main
from pax_softmoe.tuning import arithmetic
from pax_softmoe.tuning import picture
from pax_softmoe.tuning import report
from pax_softmoe.tuning import space
from pax_softmoe.tuning import trials as trials_lib
import pytest

EXCHANGED = {'all-to-all': {'count': 4, 'gb': 0.5}}
# What DESIGN fixes for other programs.
KEYS = {
    'mesh',
    'preset',
    'remat',
    'images_per_chip',
    'effort',
    'fits',
    'hbm_gib',
    'collectives',
    'compute_ms',
    'communication_ms',
    'step_ms',
    'mfu',
}


class FakeModel:
  """Half a GiB an image, 8 GiB more with remat 'none'."""

  forward_flops = 275e9

  def estimate(self, slice_name, point):
    del slice_name
    gib = {
        'weights': 8.0,
        'kept': point.images_per_chip / 2 + 8 * (point.remat == 'none'),
    }
    return arithmetic.Estimate(gib, [], 100.0, 10.0)


def results():
  """Returns a sweep with a finalist, one screened and one out of memory."""
  model = FakeModel()
  trials = []
  for remat, images in (('full', 16), ('exchange', 16), ('none', 48)):
    point = space.Point((1, 1, 4, 1), 'expert_parallel', remat, images)
    trials.append(trials_lib.Trial(point, model.estimate('v4-8', point)))
  ok = {'status': 'ok', 'target': 'tpu', 'hbm_gib': 16.0}
  ok.update(excess_gib=0.0, collectives=EXCHANGED, communication_ms=20.0)
  ok.update(communication_by_kind={'all-to-all': 20.0}, top={})
  trials[0].low = ok
  trials[0].full = ok | {'compute_ms': 80.0}
  trials[1].low = ok | {'compute_ms': 240.0}
  trials[2].low = {
      'status': 'out of memory',
      'target': 'tpu',
      'hbm_gib': 40.0,
      'excess_gib': 9.25,
  }
  return report.as_json(model, 'E', 'v4-8', trials, {'NUM_EXPERTS': 4})


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
  assert report.columns(low)['HBM GiB'] == '16.00'


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
  assert cells['HBM GiB'] == '~38.00'
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


def test_command_compares_files(tmp_path, capsys):
  for name in 'ab':
    (tmp_path / name).write_text(json.dumps(results()))
  arguments = ['--compare', str(tmp_path / 'a'), str(tmp_path / 'b')]
  assert main.main(['tune', *arguments, '--json']) == 0
  assert len(json.loads(capsys.readouterr().out)) == 3


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['SoftMoEH14'], 'needs an experiment and --slice'),
        (['X', '--slice=v4-8', '--explain=1'], 'there is no sweep of X'),
        (['X', '--slice=v4-8'], "there is no experiment 'X'"),
        (['--compare', 'no', 'no'], 'is no result of tune'),
        (
            ['SoftMoEH14', '--slice=v4-128', '--global_batch=100'],
            'cannot be split over 64 chips',
        ),
    ],
)
def test_bad_usage_is_one_line_and_code_2(arguments, message, tmp_path, capsys):
  assert main.main(['tune', *arguments, f'--cache={tmp_path}']) == 2
  assert message in capsys.readouterr().err.strip().splitlines()[-1]
