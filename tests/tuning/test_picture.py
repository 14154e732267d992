"""The picture of a sweep."""

import dataclasses

from pax_softmoe.tuning import picture
from sweep_results import results


def test_pareto_front():
  cases = [(10, 3.0), (12, 4.0), (14, 2.0), (16, 2.5), (18, 1.0)]
  some = results().points[0]
  points = [
      dataclasses.replace(some, hbm_gib=gib, step_ms=ms, images_per_chip=1)
      for gib, ms in cases
  ]
  front = [(p.hbm_gib, p.step_ms) for p in picture.pareto(points)]
  assert front == [(10, 3.0), (14, 2.0), (18, 1.0)]


def test_picture_is_drawn(tmp_path):
  picture.draw(results(), tmp_path / 'tune.png')
  assert (tmp_path / 'tune.png').read_bytes().startswith(b'\x89PNG')
