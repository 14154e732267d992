"""A whole sweep: from an experiment and a space to a ranked result."""

from collections.abc import Mapping
import dataclasses
import pathlib
from typing import Any

from pax_softmoe.tuning import arithmetic
from pax_softmoe.tuning import compiler
from pax_softmoe.tuning import progress
from pax_softmoe.tuning import report
from pax_softmoe.tuning import result as result_lib
from pax_softmoe.tuning import space as space_lib
from pax_softmoe.tuning import sweep
from pax_softmoe.tuning import trials as trials_lib


def tune(
    experiment: type,
    settings: Mapping[str, Any],
    slices: str,
    space: space_lib.Space,
    folder: pathlib.Path,
    seconds: float,
    finalists: int,
    workers: int | None = None,
) -> result_lib.Result:
  """Tries the points of a space, with a progress bar on stderr.

  Args:
    experiment: a class that is registered but for `settings`.
    settings: what was changed of it, at every point.
    slices: as `hardware.parse_slices` takes it.
    space: of one of these slices.
    folder: where compiled results are kept.
    seconds: how long it may take.
    finalists: how many points to compile with full effort.
    workers: how many compile at once; None for as many as memory allows.

  Returns:
    What was found, the best point first.

  Raises:
    ValueError: no point can run, or a value of the space does not exist.
  """
  name = experiment.__name__
  points = space_lib.points(experiment, space)
  if not points:
    raise ValueError(
        f'no point of these can run {name} on a {space.slice_name}; give other'
        ' --images_per_chip, --meshes or --presets'
    )
  target = compiler.find_target()
  compile_point = compiler.Compiler(
      name, dict(settings), space.slice_name, target, folder
  )
  model = arithmetic.Model(experiment)
  with progress.Bar() as bar:
    trials = [
        trials_lib.Trial(point, model.estimate(space.slice_name, point))
        for point in points
    ]
    sweep.Sweep(
        trials,
        compile_point,
        seconds=seconds,
        finalists=finalists,
        workers=workers or sweep.default_workers(),
        has_cycles=target == 'tpu',
        show=bar.show,
        cached=compile_point.cached,
    ).run()
  result = report.report(model, name, slices, trials, settings)
  if target == 'cpu':
    note = f'{report.NO_LIBTPU} {result.note}'
    result = dataclasses.replace(result, note=note)
  return result
