"""Which points are compiled, and in what order they rank."""

from pax_softmoe.tuning import trials as trials_lib
from sweep_results import trial

MESHES = ((1, 1, 4, 1), (1, 2, 2, 1), (1, 4, 1, 1))


def test_points_far_too_big_or_too_slow_are_not_compiled():
  good, big, slow = trial(), trial(MESHES[1], gib=45), trial(MESHES[2], ms=140)
  assert trials_lib.candidates([slow, big, good]) == [good]


def test_if_all_are_too_big_the_smallest_is_compiled():
  big, bigger = trial(gib=50), trial(MESHES[1], gib=60)
  assert trials_lib.candidates([bigger, big]) == [big]


def test_one_of_each_kind_comes_before_the_second_of_any():
  first, again = trial(images=64, ms=400), trial(images=32, ms=201)
  other = trial(MESHES[1], images=64, ms=410)
  assert trials_lib.candidates([again, other, first]) == [first, other, again]


def test_better_known_points_rank_before_others():
  full, low, none = trial(), trial(MESHES[1]), trial(MESHES[2])
  full.low = low.low = {'status': 'ok', 'exchange_ms': 1.0}
  full.full = {'status': 'ok', 'compute_ms': 900.0, 'exchange_ms': 1.0}
  assert trials_lib.ranked([none, low, full]) == [full, low, none]
