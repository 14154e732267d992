"""From the trials of a sweep to what it found."""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
from typing import Any

import jax
from pax_softmoe.hlo import collectives
from pax_softmoe.tpu import flags
from pax_softmoe.tpu import hardware
from pax_softmoe.tpu import libtpu
from pax_softmoe.tuning import arithmetic
from pax_softmoe.tuning import result as result_lib
from pax_softmoe.tuning import space
from pax_softmoe.tuning import trials as trials_lib

NOTE = (
    'Nothing here was measured on a TPU. "full": memory, exchanges and cycles'
    ' are those of the compiler for TPU {chip} ({compiler}), the cycles being'
    ' its estimate; the time of exchanges is modelled from the links, and what'
    ' of it is exposed, from the order of the compiled program. "low": compiled'
    ' with low effort, compute by arithmetic. "none": all by arithmetic. What'
    ' is by arithmetic has a ~. Steps are compute and what is exposed; but for'
    ' "full", that is all exchanges.'
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


def report(
    model: arithmetic.Model,
    experiment: str,
    slice_name: str,
    trials: Sequence[trials_lib.Trial],
    base_settings: Mapping[str, Any],
) -> result_lib.Result:
  """Returns all that a sweep found.

  Args:
    model: of the experiment.
    experiment: its name.
    slice_name: as `hardware.parse_slices` takes it; `trials` are of one slice.
    trials: of the sweep.
    base_settings: settings that all points share.
  """
  slices, tpu_slice = hardware.parse_slices(slice_name)
  dcn_ms = 1e3 * model.dcn_seconds(slices, tpu_slice) if slices > 1 else 0.0
  note = NOTE.format(
      chip=tpu_slice.chip.name,
      compiler=f'libtpu {libtpu.version() or "unknown"}, jax {jax.__version__}',
  )
  return result_lib.Result(
      experiment=experiment,
      slice=slice_name,
      chips=slices * tpu_slice.devices,
      note=note if slices == 1 else f'{note} {SEVERAL_SLICES}',
      constants=arithmetic.constants(tpu_slice.chip),
      points=[
          _point(
              model,
              tpu_slice,
              trial,
              dcn_ms,
              settings(base_settings, trial.point, slices),
          )
          for trial in trials_lib.ranked(trials)
      ],
  )


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
    tpu_slice: hardware.Slice,
    trial: trials_lib.Trial,
    dcn_ms: float,
    changed: dict[str, Any],
) -> result_lib.Point:
  point, estimate, found = trial.point, trial.estimate, trial.result or {}
  hbm = found.get('hbm_gib', estimate.hbm_gib)
  usable = tpu_slice.chip.usable_hbm_gib
  fits = trial.status == 'ok' and hbm <= usable
  # The compiler gives up on what does not fit before it has counted it all.
  excess = found.get('excess_gib', max(0.0, hbm - usable))
  seconds = (trial.step_ms + dcn_ms) / 1e3
  by_kind = dict(found.get('exchange_by_kind', {}))
  if dcn_ms:
    by_kind['between slices'] = dcn_ms
  exchanged = found.get('collectives') or collectives.summary(
      estimate.collectives
  )
  rate = point.images_per_chip / seconds
  return result_lib.Point(
      **dataclasses.asdict(point),
      effort=trial.effort,
      target=found.get('target', 'none'),
      status=trial.status if trial.result else 'not compiled',
      fits=fits,
      hbm_gib=hbm,
      excess_gib=excess,
      collectives={k: result_lib.Exchange(**v) for k, v in exchanged.items()},
      compute_ms=trial.compute_ms,
      exchange_ms=trial.exchange_ms + dcn_ms,
      exposed_ms=trial.exposed_ms + dcn_ms,
      step_ms=trial.step_ms + dcn_ms,
      images_per_second_per_chip=rate,
      mfu=hardware.utilization(tpu_slice.chip, rate, 3 * model.forward_flops),
      verdict=_verdict(model, tpu_slice.name, trial, fits, excess),
      estimate=result_lib.FirstEstimate(
          gib=dict(estimate.gib),
          compute_ms=estimate.compute_ms,
          exchange_ms=estimate.exchange_ms,
      ),
      exchange_by_kind=by_kind,
      top=found.get('top', {}) if trial.effort == 'full' else {},
      settings=changed,
      environment={flags.VARIABLE: flags.text(point.compiler_flags)},
  )


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
