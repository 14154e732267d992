"""Tells whether a change of the model changed what is compiled for TPUs.

A cut model, two dense blocks and two with experts, is compiled for a v4-128
with full effort. What chips exchange must be what the same libtpu gave when it
was recorded, to the byte; times may differ by 3 %, since the compiler schedules
anew after any change.
"""

from collections.abc import Mapping
import json
import math
import pathlib
from typing import Any

from pax_softmoe.experiments import stored
from pax_softmoe.sharding import axis_rules
from pax_softmoe.tpu import hardware
from pax_softmoe.tpu import libtpu
from pax_softmoe.tuning import compiler
from pax_softmoe.tuning import space

SLICE = 'v4-128'
CUT = {'NUM_LAYERS': 4}
TOLERANCE = 0.03
_PRESET, _REMAT, _IMAGES_PER_CHIP = 'fsdp_dense', 'none', 16
_SECONDS = 3600.0
_TIMES = ('compute_ms', 'exposed_ms')
_RECORDED = ('collectives', *_TIMES, 'matmul_flops', 'hbm_gib')


def compile_cut(experiment: type, folder: pathlib.Path) -> dict[str, Any]:
  """Returns what compiling the cut model gives.

  Args:
    experiment: a class of `ImageClassification`.
    folder: where compiled results are kept; see `compiler`.

  Returns:
    `collectives`, `compute_ms`, `exposed_ms`, `matmul_flops` and `hbm_gib` of a
    chip and a step, and the `versions` of what compiled.

  Raises:
    ValueError: it does not compile.
    RuntimeError: there is no libtpu.
  """
  libtpu.path()
  cut = experiment.with_settings(**CUT)()
  chips = hardware.find_slice(SLICE).devices
  mesh = axis_rules.default_mesh_shape(chips, cut.num_experts())
  point = space.Point(mesh, _PRESET, _REMAT, _IMAGES_PER_CHIP)
  compile_point = compiler.Compiler(
      experiment.__name__, CUT, SLICE, 'tpu', folder
  )
  result = compile_point(point, 'full', _SECONDS)
  if result['status'] != 'ok':
    raise ValueError(
        f'{experiment.__name__} with {CUT}: {result["status"]}'
        f' {result.get("error", "")}'
    )
  found = {name: result[name] for name in _RECORDED}
  return found | {'versions': compiler.versions()}


def file_name(name: str) -> str:
  """Returns the name of an experiment's file, beside its stored settings."""
  return f'{name}_check_libtpu_{libtpu.version() or "unknown"}.json'


def recorded(name: str) -> dict[str, Any]:
  """Returns what was recorded of an experiment.

  Raises:
    ValueError: nothing was.
  """
  path = stored.FOLDER / file_name(name)
  if not path.exists():
    raise ValueError(
        f'{name}: nothing is recorded that libtpu {libtpu.version()} compiled;'
        f' `softmoe tune {name} --check --write` records what compiles now'
    )
  return json.loads(path.read_text())


def differences(want: Mapping[str, Any], got: Mapping[str, Any]) -> list[str]:
  """Returns in words what differs between two of `compile_cut`."""
  found = []
  for kind in sorted({*want['collectives'], *got['collectives']}):
    none = {'count': 0, 'gb': 0.0}
    before = want['collectives'].get(kind, none)
    after = got['collectives'].get(kind, none)
    if before['count'] != after['count'] or not math.isclose(
        before['gb'], after['gb'], rel_tol=1e-9
    ):
      found.append(
          f'{kind}: {before["count"]} of {before["gb"]:.9g} GB were recorded,'
          f' now {after["count"]} of {after["gb"]:.9g} GB'
      )
  for name in _TIMES:
    before, after = want[name], got[name]
    if not math.isclose(before, after, rel_tol=TOLERANCE):
      found.append(
          f'{name.removesuffix("_ms")}: {before:.2f} ms were recorded, now'
          f' {after:.2f} ({after / before - 1:+.1%})'
      )
  return found
