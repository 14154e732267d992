"""Points are compiled once, and found again."""

import dataclasses

from pax_softmoe.tuning import child
from pax_softmoe.tuning import compiler
from sweep_results import trial

MESHES = ((1, 1, 4, 1), (1, 2, 2, 1), (1, 4, 1, 1))


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

  monkeypatch.setattr(child, 'compile_step', in_child)
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
  monkeypatch.setattr(child, 'compile_step', lambda *unused: {'status': 'ok'})
  point = trial().point
  new_compiler(tmp_path)(point, 'low', 60)
  assert new_compiler(tmp_path).cached(point, 'low')
  assert not new_compiler(tmp_path).cached(point, 'full')
  assert not new_compiler(tmp_path).cached(trial(remat='none').point, 'low')
  other = dataclasses.replace(point, compiler_flags='none')
  assert not new_compiler(tmp_path).cached(other, 'low')
  assert not new_compiler(tmp_path, NUM_EXPERTS=4).cached(point, 'low')
  monkeypatch.setenv('LIBTPU_INIT_ARGS', '--xla_of_mine=1')
  assert not new_compiler(tmp_path).cached(point, 'low')


def test_failures_are_tried_again(tmp_path, monkeypatch):
  failed = {'status': 'failed', 'error': 'code 1: no'}
  monkeypatch.setattr(child, 'compile_step', lambda *unused: failed)
  assert new_compiler(tmp_path)(trial().point, 'low', 60) == failed
  assert new_compiler(tmp_path).cached(trial().point, 'low') is None
