"""Compiles the train step of one experiment for a slice, in its own process.

    echo '{"experiment": "SoftMoEH14", "settings": {}, "slice": "v4-128",
           "target": "tpu"}' |
        python -m pax_softmoe.tuning.compile_step OUTPUT.json

The step is the one of `paxml.main`, on the mesh that Pax would make. With the
TPU compiler that is installed (`tpu.hardware`), OUTPUT has the memory of a
chip, what chips exchange, and estimates of both times; without it, the CPU
partitioner tells what chips exchange and how large the arguments are.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import json
import pathlib
import re
import resource
import sys
from typing import Any
from typing import NamedTuple

from pax_softmoe.running import parent

# How many layers, lines and collectives a result keeps.
_TOP = 12


class _Layer(NamedTuple):
  """Says of what a row of `top` is; `_Line` and `_Exchange` too."""

  layer: str


class _Line(NamedTuple):
  source: str


class _Exchange(NamedTuple):
  kind: str
  dtype: str
  group: int
  layer: str
  source: str


def compile_step(request: Mapping[str, Any]) -> dict[str, Any]:
  """Compiles, and reads what came out.

  Args:
    request: see `child.compile_step`.

  Returns:
    `status` ('ok' or 'out of memory'), `target` and, of one chip and one step,
    `hbm_gib`, `argument_gib`, `excess_gib` (over what a chip has; 0 if it
    fits), `collectives`, `matmul_flops`, `compute_ms`, `exchange_ms` (of all
    exchanges), `exchange_by_kind`, `exposed_ms` (what of them the chip waits
    for) and the `top` of each of layers, lines and collectives in milliseconds.
    A program that is out of memory has no more than the first four, and
    `hbm_gib` is what the compiler counted until it gave up. On the CPU there
    are no `hbm_gib`, `excess_gib`, `compute_ms` nor `exposed_ms`.
  """
  # Takes seconds: it loads PaxML.
  from pax_softmoe import experiments
  from pax_softmoe.tuning import cuts

  cls = getattr(experiments, request['experiment'])
  experiment = cls.with_settings(**request['settings'])
  smaller = cuts.of(experiment())
  if not smaller:
    return _with_tops(_compile(experiment, request), request)
  small, large = (
      _compile(experiment.with_settings(**cut), request) for cut in smaller
  )
  if 'out of memory' in (small['status'], large['status']):
    return large
  sizes = [cut['NUM_LAYERS'] for cut in smaller]
  factor = (experiment.NUM_LAYERS - sizes[0]) / (sizes[1] - sizes[0])
  whole = cuts.extrapolate(small, large, factor)
  whole['extrapolated_from'] = sizes
  return _with_tops(whole, request)


def _compile(cls: type, request: Mapping[str, Any]) -> dict[str, Any]:
  """Returns what one program gives, `top` as dicts from what to how much."""
  import jax
  import numpy as np
  from pax_softmoe.tpu import executable
  from pax_softmoe.tpu import hardware
  from pax_softmoe.tpu import libtpu
  from pax_softmoe.tpu import train_step
  from pax_softmoe.tuning import layout

  experiment = cls()
  is_tpu = request['target'] == 'tpu'
  if is_tpu:
    devices = libtpu.topology_devices(request['slice'])
  else:
    devices = jax.devices()
  order = layout.device_order(request['slice'], experiment.mesh_shape())
  step = train_step.TrainStep(experiment, np.array(devices)[list(order)])
  try:
    compiled = step.compile()
  except jax.errors.JaxRuntimeError as error:
    excess = executable.parse_out_of_memory(str(error))
    if excess is None:
      raise
    return {
        'status': 'out of memory',
        'target': 'tpu',
        'hbm_gib': excess.used,
        'excess_gib': excess.excess,
    }
  report = executable.read(compiled)
  tpu_slice = hardware.find_slice(request['slice'])
  places = layout.coordinates(request['slice'], experiment.mesh_shape())
  result = {
      'status': 'ok',
      'target': request['target'],
      'argument_gib': report.argument_bytes / hardware.GIB,
      'matmul_flops': report.matmul_flops,
      **_exchanges(report.collectives, tpu_slice, places),
  }
  if is_tpu:
    timeline = report.timeline(tpu_slice, places)
    result['hbm_gib'] = report.peak_bytes / hardware.GIB
    result['compute_ms'] = 1e3 * timeline.compute_seconds
    result['exposed_ms'] = 1e3 * timeline.exposed_seconds
    result['top'].update(_cycles(report.cycles, tpu_slice.chip.clock_hz))
    for wait in timeline.waits:
      row = result['top']['collectives'][_exchange(wait.collective)]
      row['exposed_ms'] += 1e3 * wait.seconds
  return result


def _with_tops(
    result: dict[str, Any], request: Mapping[str, Any]
) -> dict[str, Any]:
  """Returns a result with whether it fits and what takes longest, sorted."""
  from pax_softmoe.tpu import hardware

  if request['target'] == 'tpu' and result['status'] == 'ok':
    usable = hardware.find_slice(request['slice']).chip.usable_hbm_gib
    result['excess_gib'] = max(0.0, result['hbm_gib'] - usable)
    if result['excess_gib']:
      result['status'] = 'out of memory'
  for name, rows in result.get('top', {}).items():
    # Of exchanges, what the chip waits for, if that is known.
    longest = sorted(
        rows.items(),
        key=lambda row: (-row[1].get('exposed_ms', 0.0), -row[1]['ms']),
    )[:_TOP]
    result['top'][name] = [{**key._asdict(), **row} for key, row in longest]
  return result


def _exchanges(
    found: Sequence[Any], tpu_slice: Any, places: Any
) -> dict[str, Any]:
  """Returns what chips exchange and how long that takes by `links`."""
  from pax_softmoe.hlo import collectives
  from pax_softmoe.tpu import links

  by_kind, rows = {}, {}
  for c in found:
    ms = 1e3 * c.count * links.seconds(c, tpu_slice, places)
    by_kind[c.kind] = by_kind.get(c.kind, 0.0) + ms
    row = rows.setdefault(
        _exchange(c), {'count': 0, 'gb': 0.0, 'ms': 0.0, 'exposed_ms': 0.0}
    )
    row['count'] += c.count
    row['gb'] += c.total_bytes / 1e9
    row['ms'] += ms
  return {
      'collectives': collectives.summary(found),
      'exchange_ms': sum(by_kind.values()),
      'exchange_by_kind': by_kind,
      'top': {'collectives': rows},
  }


def _exchange(of: Any) -> _Exchange:
  """Returns the row of a collective."""
  from pax_softmoe.hlo import costs

  return _Exchange(
      kind=of.kind,
      dtype=of.dtype,
      group=of.group_size,
      layer=_any_block(' '.join(costs.layer_path(of.op_name))),
      source=_short(of.source),
  )


def _any_block(layer: str) -> str:
  """Returns a layer's name with that of its block for all blocks of a stack."""
  return re.sub(r'\bblock_\d+\b', 'block_*', layer).strip()


def _short(source: str) -> str:
  """Returns a source line without the folders that packages are in."""
  return re.sub(r'^.*/(?=pax_softmoe/)|^.*/site-packages/', '', source)


def _cycles(cycles: Sequence[Any], clock_hz: float) -> dict[str, Any]:
  """Returns how long layers and lines compute, by name."""
  from pax_softmoe.hlo import costs

  found = {'layers': {}, 'lines': {}}
  for path, count in costs.by_layer(cycles).items():
    _add(found['layers'], _Layer(_any_block(' '.join(path))), count)
  for line, count in costs.by_source(cycles).items():
    _add(found['lines'], _Line(_short(line)), count)
  for rows in found.values():
    for row in rows.values():
      row['ms'] *= 1e3 / clock_hz
  return found


def _add(rows: dict[Any, dict[str, float]], key: Any, value: float) -> None:
  rows.setdefault(key, {'ms': 0.0})['ms'] += value


def main() -> None:
  """Reads the request from stdin and writes the result to a file."""
  result = compile_step(json.load(sys.stdin))
  # Of this process, in KiB on Linux; the sweep counts on it for the next ones.
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  result['compiler_gib'] = round(peak / 2**20, 2)
  pathlib.Path(sys.argv[1]).write_text(json.dumps(result))


if __name__ == '__main__':
  parent.watch()
  main()
