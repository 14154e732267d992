"""What a sweep found, for programs and for people."""

from pax_softmoe.tuning import report
from pax_softmoe.tuning import space
import pytest
from sweep_results import FakeModel
from sweep_results import results


def test_time_and_utilization_of_the_best_point():
  best = results().points[0]
  assert (best.exchange_ms, best.exposed_ms) == (25, 20)
  assert best.step_ms == 100
  assert best.images_per_second_per_chip == 160
  # 16 images of 3 x 275 GFLOP in 0.1 s, of 275 TFLOP/s.
  assert best.mfu == pytest.approx(3 * 16 * 1e-3 / 0.1)


def test_with_low_effort_nothing_is_hidden():
  screened = results().points[1]
  assert screened.exposed_ms == screened.exchange_ms == 25


def test_point_out_of_memory_says_by_how_much_and_what_to_do():
  # 9.25 GiB are 18.5 images; remat alone saves 8.
  assert results().points[2].verdict == '9.25 GiB too big; try 24 images a chip'


def test_change_that_cannot_run_is_not_advised():
  class Picky(FakeModel):

    def estimate(self, slice_name, point):
      if point.images_per_chip < 48:
        raise ValueError('groups of 48 images')
      return super().estimate(slice_name, point)

  point = space.Point((1, 1, 4, 1), 'expert_parallel', 'none', 48)
  got = report.what_would_fit(Picky(), 'v4-8', point, excess=7.0)
  assert got == ['remat full']


def test_several_slices_sum_up_gradients_besides():
  one, two = results(), results('2xv4-8')
  assert (two.slice, two.chips) == ('2xv4-8', 8)
  before, after = one.points[0], two.points[0]
  # 2 slices x 4 chips x 1 ms of the pretended model.
  assert after.exchange_ms == before.exchange_ms + 8
  assert after.exposed_ms == before.exposed_ms + 8
  assert after.step_ms == 108
  assert after.exchange_by_kind['between slices'] == 8
  assert after.mfu == pytest.approx(before.mfu * 100 / 108)
  assert after.settings == before.settings | {
      'DCN_MESH_SHAPE': (2, 1, 1, 1),
      'TRAIN_BATCH_SIZE': 2 * 4 * 16,
      'EVAL_BATCH_SIZE': 2 * 4 * 16,
  }
  assert 'on paper' in two.note and 'on paper' not in one.note
