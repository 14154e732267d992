"""What a sweep found: JSON for programs, a table and flags for people."""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
from typing import Any

from pax_softmoe.hlo import collectives
from pax_softmoe.tpu import hardware
from pax_softmoe.tuning import arithmetic
from pax_softmoe.tuning import compile_step
from pax_softmoe.tuning import space
from pax_softmoe.tuning import trials as trials_lib

HBM = f'HBM GiB of {hardware.USABLE_HBM_GIB}'
NOTE = (
    'Nothing here was measured on a TPU. "full": memory, exchanges and cycles'
    ' are those of the compiler for TPU v4, the cycles being its estimate, and'
    ' the time of exchanges is modelled from the links. "low": compiled with'
    ' low effort, compute by arithmetic. "none": all by arithmetic. What is by'
    ' arithmetic has a ~. Step times assume that exchanges overlap with'
    ' nothing.'
)
SEVERAL_SLICES = (
    'Several slices are on paper only: what was compiled is the program of one,'
    ' to which the time to sum up gradients over the network of the data centre'
    ' is added by arithmetic.'
)
NO_LIBTPU = (
    'There is no compiler for TPUs here (pip install pax_softmoe[tpu]): what'
    ' chips exchange is from the CPU partitioner, memory and compute are by'
    ' arithmetic.'
)


def as_json(
    model: arithmetic.Model,
    experiment: str,
    slice_name: str,
    trials: Sequence[trials_lib.Trial],
    base_settings: Mapping[str, Any],
) -> dict[str, Any]:
  """Returns all that a sweep found, best point first.

  Args:
    model: of the experiment.
    experiment: its name.
    slice_name: as `tpu.parse_slices` takes it; `trials` are of one slice.
    trials: of the sweep.
    base_settings: settings that all points share.

  Returns:
    What JSON can hold: 'experiment', 'slice', 'chips', 'note', 'constants',
    'environment' (variables that compiling relied on) and 'points'.
  """
  slices, tpu_slice = hardware.parse_slices(slice_name)
  chips = tpu_slice.chips
  dcn_ms = 1e3 * model.dcn_seconds(slices, chips) if slices > 1 else 0.0
  return {
      'experiment': experiment,
      'slice': slice_name,
      'chips': slices * chips,
      'note': NOTE if slices == 1 else f'{NOTE} {SEVERAL_SLICES}',
      'constants': arithmetic.CONSTANTS,
      'environment': {'LIBTPU_INIT_ARGS': compile_step.tpu_flags()},
      'points': [
          _point(model, tpu_slice.name, trial, dcn_ms)
          | {'settings': settings(base_settings, trial.point, slices)}
          for trial in trials_lib.ranked(trials)
      ],
  }


def settings(
    base_settings: Mapping[str, Any], point: space.Point, slices: int
) -> dict[str, Any]:
  """Returns the settings that make an experiment a point on several slices."""
  changed = {**base_settings, **point.settings()}
  if slices > 1:
    # A copy of the weights in each, and as many images.
    changed['DCN_MESH_SHAPE'] = (slices, 1, 1, 1)
    for name in ('TRAIN_BATCH_SIZE', 'EVAL_BATCH_SIZE'):
      changed[name] *= slices
  return changed


def _point(
    model: arithmetic.Model,
    slice_name: str,
    trial: trials_lib.Trial,
    dcn_ms: float,
) -> dict[str, Any]:
  point, result = trial.point, trial.result or {}
  hbm = result.get('hbm_gib', trial.estimate.hbm_gib)
  fits = trial.status == 'ok' and hbm <= hardware.USABLE_HBM_GIB
  # The compiler gives up on what does not fit before it has counted it all.
  excess = result.get('excess_gib', max(0.0, hbm - hardware.USABLE_HBM_GIB))
  seconds = (trial.step_ms + dcn_ms) / 1e3
  by_kind = dict(result.get('communication_by_kind', {}))
  if dcn_ms:
    by_kind['between slices'] = dcn_ms
  flops = 3 * model.forward_flops * point.images_per_chip
  return {
      **dataclasses.asdict(point),
      'effort': trial.effort,
      'target': result.get('target', 'none'),
      'status': trial.status if trial.result else 'not compiled',
      'fits': fits,
      'hbm_gib': hbm,
      'excess_gib': excess,
      'collectives': (
          result.get('collectives')
          or collectives.summary(trial.estimate.collectives)
      ),
      'compute_ms': trial.compute_ms,
      'communication_ms': trial.communication_ms + dcn_ms,
      'step_ms': trial.step_ms + dcn_ms,
      'images_per_second_per_chip': point.images_per_chip / seconds,
      'mfu': flops / seconds / hardware.PEAK_FLOPS,
      'verdict': _verdict(model, slice_name, trial, fits, excess),
      'estimate': {
          'gib': dict(trial.estimate.gib),
          'compute_ms': trial.estimate.compute_ms,
          'communication_ms': trial.estimate.communication_ms,
      },
      'communication_by_kind': by_kind,
      'top': result.get('top', {}) if trial.effort == 'full' else {},
  }


def _verdict(
    model: arithmetic.Model,
    slice_name: str,
    trial: trials_lib.Trial,
    fits: bool,
    excess: float,
) -> str:
  """Returns in words what is to be thought of a point."""
  if trial.status in ('failed', 'timed out'):
    return f'{trial.status}: {trial.result["error"]}'
  if fits:
    return {
        'full': 'fits',
        'low': 'fits; cycles not known',
        'none': 'fits by arithmetic; not compiled',
    }[trial.effort]
  is_compiled = 'hbm_gib' in (trial.result or {})
  by = '' if is_compiled else 'by arithmetic '
  ways = ' or '.join(what_would_fit(model, slice_name, trial.point, excess))
  return f'{by}{excess:.2f} GiB too big' + (f'; try {ways}' if ways else '')


def what_would_fit(
    model: arithmetic.Model,
    slice_name: str,
    point: space.Point,
    excess: float,
) -> list[str]:
  """Returns single changes that save more than `excess` GiB by arithmetic."""
  before = model.estimate(slice_name, point).hbm_gib
  changes = {
      'remat full': {'remat': 'full'},
      'a bfloat16 first moment': {'first_moment': 'bfloat16'},
      'preset fsdp_dense': {'preset': 'fsdp_dense'},
  }
  images = point.images_per_chip // 2
  while images:
    changes[f'{images} images a chip'] = {'images_per_chip': images}
    images //= 2
  found = {}
  for name, change in changes.items():
    changed = dataclasses.replace(point, **change)
    try:
      saved = before - model.estimate(slice_name, changed).hbm_gib
    except ValueError:
      continue  # It would fit, but cannot run.
    # Of several batch sizes, the largest.
    if saved > excess and next(iter(change)) not in found:
      found[next(iter(change))] = name
  return list(found.values())


def columns(point: Mapping[str, Any]) -> dict[str, str]:
  """Returns the cells of a point's row by title; '~' is for arithmetic."""
  gb = {kind: v['gb'] for kind, v in point['collectives'].items()}
  reduced = gb.get('all-reduce', 0) + gb.get('reduce-scatter', 0)
  remat = point['remat']
  if point['first_moment']:
    remat += f', {point["first_moment"]}'
  # What is by arithmetic, all or in part.
  compiled = '' if point['effort'] != 'none' else '~'
  timed = '' if point['effort'] == 'full' else '~'
  sized = '' if point['target'] == 'tpu' else '~'
  return {
      'mesh': 'x'.join(map(str, point['mesh'])),
      'preset': point['preset'],
      'remat': remat,
      'images': str(point['images_per_chip']),
      'effort': point['effort'],
      HBM: f'{sized}{point["hbm_gib"]:.2f}',
      'all-to-all GB': compiled + _short(gb.get('all-to-all', 0)),
      'gather GB': compiled + _short(gb.get('all-gather', 0)),
      'reduce GB': compiled + _short(reduced),
      'compute ms': timed + _short(point['compute_ms']),
      'commun. ms': compiled + _short(point['communication_ms']),
      'step ms': timed + _short(point['step_ms']),
      'images/s/chip': timed + _short(point['images_per_second_per_chip']),
      'MFU': f'{timed}{point["mfu"]:.1%}',
      'verdict': point['verdict'],
  }


def _short(value: float) -> str:
  """Returns three digits of a number, or all before the point."""
  return f'{value:.0f}' if value >= 100 else f'{value:.3g}'


def explain(point: Mapping[str, Any]) -> str:
  """Returns where the time of a compiled point goes."""
  lines = [
      'memory by arithmetic, GiB a chip: '
      + ', '.join(f'{k} {v:.2f}' for k, v in point['estimate']['gib'].items())
  ]
  top = point['top']
  if not top:
    lines.append(
        f'this point was compiled with effort {point["effort"]!r}; only those'
        ' with full effort tell where cycles go'
    )
  if 'layers' in top:
    lines.append('\nms of compute by layer (compiler estimate)')
    lines.extend(f'{r["ms"]:9.2f}  {r["layer"]}' for r in top['layers'])
    lines.append('\nms of compute by source line (compiler estimate)')
    lines.extend(f'{r["ms"]:9.2f}  {r["source"]}' for r in top['lines'])
  if top:
    lines.append('\nms of exchanges (modelled), GB a chip, and what they are')
    lines.extend(
        f'{r["ms"]:9.2f}  {r["gb"]:7.3f}  {r["count"]} x {r["kind"]} of'
        f' {r["dtype"]} among {r["group"]}: {r["layer"]}, {r["source"]}'
        for r in top['collectives']
    )
  return '\n'.join(lines)


def compare(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[dict[str, str]]:
  """Returns a row for each point that both of two results compiled alike.

  Args:
    a: a result of `as_json`, before.
    b: another, after.

  Returns:
    Cells by title, where the step time changed most first.
  """

  def key(point):
    names = ('mesh', 'preset', 'remat', 'images_per_chip', 'effort')
    return str([point[n] for n in names] + [point.get('first_moment')])

  before = {key(p): p for p in a['points'] if p['effort'] != 'none'}
  pairs = [(before[key(p)], p) for p in b['points'] if key(p) in before]
  pairs.sort(key=lambda pair: -abs(pair[1]['step_ms'] - pair[0]['step_ms']))
  rows = []
  for old, new in pairs:
    cells = columns(new)
    row = {t: cells[t] for t in ('mesh', 'preset', 'remat', 'images', 'effort')}
    for title in (HBM, 'compute ms', 'commun. ms', 'step ms', 'MFU'):
      row[title] = f'{columns(old)[title]} → {cells[title]}'
    rows.append(row)
  return rows
