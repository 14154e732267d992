"""A sweep, with a compiler that only pretends."""

import threading

from pax_softmoe.tuning import arithmetic
from pax_softmoe.tuning import compile_step
from pax_softmoe.tuning import compiler
from pax_softmoe.tuning import space
from pax_softmoe.tuning import sweep
from pax_softmoe.tuning import trials as trials_lib

MESHES = ((1, 1, 4, 1), (1, 2, 2, 1), (1, 4, 1, 1))


def trial(mesh=MESHES[0], remat='full', images=16, gib=10.0, ms=100.0):
  """Returns a point of which arithmetic says that."""
  return trials_lib.Trial(
      space.Point(mesh, 'expert_parallel', remat, images),
      arithmetic.Estimate({'weights': gib}, [], ms, 0.0),
  )


class FakeCompiler:
  """Gives each mesh a result; counts what it is asked."""

  def __init__(self, by_mesh=None):
    self.by_mesh = by_mesh or {}
    self.asked = []
    self._lock = threading.Lock()

  def __call__(self, point, effort, timeout):
    del timeout
    with self._lock:
      self.asked.append((point.mesh, effort))
    result = self.by_mesh.get((point.mesh, effort), {})
    if isinstance(result, Exception):
      raise result
    ok = {'status': 'ok', 'hbm_gib': 5.0, 'excess_gib': 0.0}
    return {**ok, 'compute_ms': 90.0, 'communication_ms': 10.0, **result}


def run(trials, fake, **options):
  sweep.Sweep(trials, fake, **({'seconds': 60} | options)).run()


def test_all_stages_of_a_sweep():
  trials = [trial(mesh, ms=100 + i) for i, mesh in enumerate(MESHES)]
  fake = FakeCompiler()
  run(trials, fake, finalists=2)
  assert fake.asked == [
      (MESHES[0], 'low'),
      (MESHES[1], 'low'),
      (MESHES[2], 'low'),
      (MESHES[0], 'full'),
      (MESHES[1], 'full'),
  ]
  assert [t.effort for t in trials] == ['full', 'full', 'low']
  # Compute is the compiler's only at full effort.
  assert [t.step_ms for t in trials] == [100, 100, 112]


def test_few_points_are_compiled_in_full_at_once():
  trials = [trial(mesh) for mesh in MESHES[:2]]
  fake = FakeCompiler()
  run(trials, fake, finalists=2)
  assert fake.asked == [(MESHES[0], 'full'), (MESHES[1], 'full')]
  assert [t.step_ms for t in trials] == [100, 100]


def test_crash_is_a_result_and_another_takes_its_place():
  trials = [trial(mesh, ms=100 + i) for i, mesh in enumerate(MESHES)]
  fake = FakeCompiler({(MESHES[0], 'full'): RuntimeError('crashed')})
  run(trials, fake, finalists=1)
  assert trials[0].full == {
      'status': 'failed',
      'error': 'RuntimeError: crashed',
  }
  assert trials[0].effort == 'low'
  assert trials[1].effort == 'full'
  assert trials_lib.ranked(trials)[0] is trials[1]


def test_point_out_of_memory_is_no_finalist_and_ranks_last():
  trials = [trial(mesh, ms=100 + i) for i, mesh in enumerate(MESHES)]
  big = {'status': 'out of memory', 'hbm_gib': 40.0, 'excess_gib': 9.25}
  fake = FakeCompiler({(MESHES[0], 'low'): big})
  run(trials, fake, finalists=2, workers=2)
  assert (MESHES[0], 'full') not in fake.asked
  assert trials_lib.ranked(trials)[-1] is trials[0]


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
  full.low = low.low = {'status': 'ok', 'communication_ms': 1.0}
  full.full = {'status': 'ok', 'compute_ms': 900.0, 'communication_ms': 1.0}
  assert trials_lib.ranked([none, low, full]) == [full, low, none]


def test_nothing_starts_when_the_time_is_over():
  trials = [trial()]
  fake = FakeCompiler()
  run(trials, fake, seconds=0)
  assert not fake.asked
  assert trials[0].effort == 'none'


def test_without_cycles_there_are_no_finalists():
  fake = FakeCompiler()
  run([trial()], fake, has_cycles=False)
  assert fake.asked == [(MESHES[0], 'low')]


def new_compiler(folder, **settings):
  return compiler.Compiler('E', settings, 'v4-8', 'cpu', folder)


def test_stopped_sweep_goes_on_where_it_was(tmp_path, monkeypatch):
  asked = []

  def in_child(request, output, timeout):
    del output, timeout
    asked.append(request['settings']['ICI_MESH_SHAPE'])
    if len(asked) == 2:
      raise KeyboardInterrupt
    return {'status': 'ok'}

  monkeypatch.setattr(compile_step, 'in_child', in_child)
  points = [trial(mesh).point for mesh in MESHES]
  first = new_compiler(tmp_path)
  first(points[0], 'low', 60)
  try:
    first(points[1], 'low', 60)
  except KeyboardInterrupt:
    pass
  second = new_compiler(tmp_path)
  for point in points:
    assert second(point, 'low', 60) == {'status': 'ok'}
  assert asked == [MESHES[0], MESHES[1], MESHES[1], MESHES[2]]


def test_only_the_same_is_taken_from_the_cache(tmp_path, monkeypatch):
  monkeypatch.setattr(
      compile_step, 'in_child', lambda *unused: {'status': 'ok'}
  )
  point = trial().point
  new_compiler(tmp_path)(point, 'low', 60)
  assert new_compiler(tmp_path).cached(point, 'low')
  assert not new_compiler(tmp_path).cached(point, 'full')
  assert not new_compiler(tmp_path).cached(trial(remat='none').point, 'low')
  assert not new_compiler(tmp_path, NUM_EXPERTS=4).cached(point, 'low')
  monkeypatch.setenv('LIBTPU_INIT_ARGS', '--xla_of_mine=1')
  assert not new_compiler(tmp_path).cached(point, 'low')


def test_failures_are_tried_again(tmp_path, monkeypatch):
  failed = {'status': 'failed', 'error': 'code 1: no'}
  monkeypatch.setattr(compile_step, 'in_child', lambda *unused: failed)
  assert new_compiler(tmp_path)(trial().point, 'low', 60) == failed
  assert new_compiler(tmp_path).cached(trial().point, 'low') is None
