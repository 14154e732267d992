"""Draws what a sweep found."""

from collections.abc import Sequence
from typing import Any

from etils import epath
import matplotlib

matplotlib.use('Agg')

from matplotlib import pyplot as plt  # pylint: disable=g-import-not-at-top
from pax_softmoe.tuning import result as result_lib

_MARKERS = {'full': 'o', 'low': 's', 'none': '.'}
_MAX_BARS = 12


def draw(result: result_lib.Result, output: epath.Path) -> None:
  """Draws time against memory, and where the time of the best points goes.

  Args:
    result: of a sweep.
    output: a PNG.
  """
  points = [p for p in result.points if p.effort != 'none']
  points = points or result.points
  fig, (left, right) = plt.subplots(1, 2, figsize=(15, 6))
  _draw_memory(left, points, result.usable_gib)
  _draw_times(right, [p for p in points if p.fits][:_MAX_BARS])
  fig.suptitle(
      f'{result.experiment} on {result.slice} ({result.chips} devices):'
      ' estimates of the TPU compiler and of arithmetic, no measurements'
  )
  fig.tight_layout()
  with output.open('wb') as sink:
    fig.savefig(sink, format='png', dpi=120)
  plt.close(fig)


def pareto(points: Sequence[result_lib.Point]) -> list[result_lib.Point]:
  """Returns those that no other beats in both memory and time per image."""
  front, best = [], float('inf')
  for point in sorted(points, key=lambda p: (p.hbm_gib, _per_image(p))):
    if _per_image(point) < best:
      best = _per_image(point)
      front.append(point)
  return front


def _per_image(point: result_lib.Point) -> float:
  return point.step_ms / point.images_per_chip


def _label(point: result_lib.Point) -> str:
  mesh = 'x'.join(map(str, point.mesh))
  return f'{mesh} {point.preset}\n{point.remat}, {point.images_per_chip} images'


def _draw_memory(
    axes: Any, points: Sequence[result_lib.Point], usable_gib: float
) -> None:
  for effort, marker in _MARKERS.items():
    some = [p for p in points if p.effort == effort]
    if some:
      axes.scatter(
          [p.hbm_gib for p in some],
          [_per_image(p) for p in some],
          marker=marker,
          c=['tab:blue' if p.fits else 'tab:red' for p in some],
          label=f'effort {effort}',
      )
    # Cycles of different efforts are never compared.
    front = pareto([p for p in some if p.fits])
    axes.plot(
        [p.hbm_gib for p in front],
        [_per_image(p) for p in front],
        color='tab:blue' if effort == 'full' else 'lightgray',
    )
  axes.axvline(usable_gib, color='tab:red', linestyle='--')
  axes.set_xlabel(f'GiB of a chip (red line: the usable {usable_gib:g})')
  axes.set_ylabel('step time, ms per image of a chip')
  axes.set_title('time against memory, with the Pareto front of each effort')
  axes.legend()


def _draw_times(axes: Any, points: Sequence[result_lib.Point]) -> None:
  names = [f'{_label(p)} ({p.effort})' for p in points]
  compute = [p.compute_ms / p.images_per_chip for p in points]
  axes.barh(names, compute, label='compute')
  start = compute
  kinds = sorted({k for p in points for k in p.exchange_by_kind})
  for kind in kinds:
    widths = [
        p.exchange_by_kind.get(kind, 0) / p.images_per_chip for p in points
    ]
    axes.barh(names, widths, left=start, label=kind)
    start = [s + w for s, w in zip(start, widths)]
  axes.invert_yaxis()
  axes.tick_params(axis='y', labelsize=7)
  axes.set_xlabel('ms per image of a chip')
  axes.set_title('where the time goes')
  axes.legend()
