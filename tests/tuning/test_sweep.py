"""A sweep, with a compiler that only pretends."""

import threading

from pax_softmoe.tuning import sweep
from pax_softmoe.tuning import trials as trials_lib
from sweep_results import trial

MESHES = ((1, 1, 4, 1), (1, 2, 2, 1), (1, 4, 1, 1))


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
    return {**ok, 'compute_ms': 90.0, 'exchange_ms': 10.0, **result}


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
