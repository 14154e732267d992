"""Finds the mesh, sharding and remat policy for a TPU slice, without a TPU.

  softmoe tune SoftMoEH14 --slice=v4-128 --write
  softmoe tune SoftMoEH14 --slice=2xv4-128
  softmoe tune SoftMoEH14 --slice=v4-128 --images_per_chip=16 --remat=full,none
  softmoe tune SoftMoEH14 --slice=v4-128 --compiler_flags=none,overlap
  softmoe tune SoftMoEH14 --slice=v4-128 --explain=1
  softmoe tune --compare old.json new.json

Compiles the real train step for the slice; all times are estimates. What was
compiled is kept, so that the same command goes on where it was stopped. What
--write stores, SLICE='v4-128' makes the experiment take.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import sys
from typing import Any

from pax_softmoe.tools import arguments as arguments_of
from pax_softmoe.tools import jobs
from pax_softmoe.tools import json_output
from pax_softmoe.tools import main
from pax_softmoe.tools import tune_output


def add_arguments(parser: argparse.ArgumentParser) -> None:
  parser.add_argument('experiment', nargs='?', help='name, see `softmoe list`')
  parser.add_argument(
      '--slice',
      help=(
          'v4-8 … v4-1024, v5e-4 … v5e-256, v5p-8 … v5p-1024, v6e-4 … v6e-256,'
          ' tpu7x-8 … tpu7x-1024; 2xv4-128 for two of v4-128'
      ),
  )
  parser.add_argument(
      '--meshes',
      type=arguments_of.list_of(_mesh),
      metavar='RxDxExM,…',
      help='sizes of replica, data, expert, mdl in a slice (default: all)',
  )
  parser.add_argument(
      '--presets',
      type=arguments_of.list_of(str),
      help=(
          'sharding presets, with overrides of single letters as'
          ' fsdp_dense+expert_weights.h=data (default: all)'
      ),
  )
  parser.add_argument(
      '--remat',
      type=arguments_of.list_of(str),
      help='remat policies (default: all)',
  )
  batch = parser.add_mutually_exclusive_group()
  batch.add_argument(
      '--images_per_chip',
      type=arguments_of.list_of(arguments_of.positive_int),
      help='(default: 16,32,64)',
  )
  batch.add_argument(
      '--global_batch',
      type=arguments_of.positive_int,
      help='images of all chips, fixed',
  )
  parser.add_argument(
      '--first_moment',
      type=arguments_of.list_of(str),
      help="float32, bfloat16 or both (default: the experiment's own)",
  )
  parser.add_argument(
      '--exchange_parts',
      type=arguments_of.list_of(arguments_of.positive_int),
      help=(
          'parts of a batch that go to experts one after the other (default: 1)'
      ),
  )
  parser.add_argument(
      '--compiler_flags',
      type=arguments_of.list_of(str),
      help=(
          'sets of compiler flags: none, overlap, sparse_cores (default:'
          ' overlap)'
      ),
  )
  _add_budget(parser)
  _add_results(parser)
  jobs.add_setting_argument(parser)
  parser.add_argument('--json', action='store_true', help='print JSON')


def _add_budget(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
      '--finalists',
      type=arguments_of.natural,
      default=3,
      help='points to compile with full effort (default: 3)',
  )
  parser.add_argument(
      '--budget_minutes',
      type=arguments_of.positive_float,
      default=15.0,
      help='when to come to an end (default: 15)',
  )
  parser.add_argument(
      '--workers',
      type=arguments_of.positive_int,
      help='how many compile at once (default: by memory)',
  )
  parser.add_argument(
      '--cache',
      type=arguments_of.local_path,
      help='default: ~/.cache/pax_softmoe/tune',
  )


def _add_results(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
      '--output',
      type=arguments_of.path,
      help='folder for the picture and the JSON',
  )
  parser.add_argument(
      '--write',
      action='store_true',
      help='store the best point with the experiment, or what --check finds',
  )
  parser.add_argument(
      '--check',
      action='store_true',
      help=(
          'compile a cut model for a v4-128 again, and compare with what was'
          ' recorded for it'
      ),
  )
  parser.add_argument(
      '--explain',
      type=arguments_of.positive_int,
      metavar='N',
      help='show where the time of point N of the last sweep goes',
  )
  parser.add_argument(
      '--compare',
      nargs=2,
      type=arguments_of.path,
      metavar='JSON',
      help='show what changed between two results',
  )


def run(arguments: argparse.Namespace) -> int:
  jobs.load_experiments()
  from pax_softmoe.tuning import table

  if arguments.compare:
    rows = table.compare(*map(_read, arguments.compare))
    if arguments.json:
      json_output.show(rows)
    else:
      tune_output.print_table(rows)
    return 0
  if not arguments.experiment or not (arguments.slice or arguments.check):
    raise main.UsageError('tune needs an experiment and --slice, see --help')
  from pax_softmoe.tuning import compiler

  folder = arguments.cache or compiler.default_folder()
  name = arguments.experiment.removeprefix(jobs.EXPERIMENTS + '.')
  if arguments.check:
    return _check(arguments, name, folder)
  last = folder / f'{name}_{arguments.slice}.json'
  if arguments.explain is not None:
    return _explain(arguments, last)
  if arguments.write:
    _check_storable(arguments)
  try:
    result = _sweep(arguments, name, folder)
  except KeyboardInterrupt:
    text = 'stopped; the same command goes on where it was'
    raise KeyboardInterrupt(text) from None
  last.write_text(json.dumps(result.as_json()))
  if arguments.output:
    from pax_softmoe.tuning import picture

    jobs.make_folder(arguments.output)
    (arguments.output / last.name).write_text(
        json.dumps(result.as_json(), indent=1)
    )
    picture.draw(result, arguments.output / last.with_suffix('.png').name)
  if arguments.json:
    json_output.show(result.as_json())
  else:
    tune_output.print_result(result)
    if arguments.output:
      print(f'\nPicture and JSON are in {arguments.output}')
  if arguments.write:
    _store(arguments, name, result)
  return 0 if any(p.fits for p in result.points) else 1


def _store(arguments: argparse.Namespace, name: str, result: Any) -> None:
  """Stores the best point of a sweep."""
  from pax_softmoe.experiments import stored
  from pax_softmoe.tuning import compiler

  entry = result.entry(compiler.versions())
  path = stored.write(name, arguments.slice, entry)
  if not arguments.json:
    flag = jobs.experiment_flag(name, {'SLICE': arguments.slice})
    print(f'\nStored in {path}. From now on it is enough to give')
    tune_output.print_command(entry['environment'], flag)


def _sweep(
    arguments: argparse.Namespace, name: str, folder: pathlib.Path
) -> Any:
  """Returns the `Result` of a new sweep."""
  settings = jobs.parse_settings(arguments.set)
  cls = jobs.find_experiment(name)
  found = ('SLICE', 'DCN_MESH_SHAPE')
  if any(n in settings or getattr(cls, n) for n in found):
    raise main.UsageError(
        'tune finds these settings: leave SLICE and DCN_MESH_SHAPE at None, and'
        ' give --slice=2xv4-128 for several slices'
    )
  experiment = cls.with_settings(**settings)
  from pax_softmoe.tpu import hardware
  from pax_softmoe.tuning import space
  from pax_softmoe.tuning import tune

  slices, tpu_slice = hardware.parse_slices(arguments.slice)
  images = arguments.images_per_chip or space.DEFAULT_IMAGES_PER_CHIP
  if arguments.global_batch:
    chips = slices * tpu_slice.devices
    if arguments.global_batch % chips:
      raise main.UsageError(
          f'--global_batch: {arguments.global_batch} images cannot be split'
          f' over {chips} chips'
      )
    images = (arguments.global_batch // chips,)
  result = tune.tune(
      experiment,
      settings,
      arguments.slice,
      space.Space(
          slice_name=tpu_slice.name,
          meshes=arguments.meshes,
          presets=arguments.presets,
          remats=arguments.remat,
          images_per_chip=images,
          first_moments=arguments.first_moment or (None,),
          exchange_parts=arguments.exchange_parts or (1,),
          compiler_flags=(
              arguments.compiler_flags or (space.DEFAULT_COMPILER_FLAGS,)
          ),
      ),
      folder,
      seconds=60 * arguments.budget_minutes,
      finalists=arguments.finalists,
      workers=arguments.workers,
  )
  points = [
      dataclasses.replace(p, flag=jobs.experiment_flag(name, p.settings))
      for p in result.points
  ]
  return dataclasses.replace(result, points=points)


def _check_storable(arguments: argparse.Namespace) -> None:
  """Raises UsageError if what --write would store is not for others to take."""
  from pax_softmoe.experiments import stored
  from pax_softmoe.tuning import compiler

  settings = jobs.parse_settings(arguments.set)
  others = [name for name in settings if name not in stored.SETTINGS]
  if others:
    raise main.UsageError(
        f'--write with --set {others[0]}: SLICE would not set it, and the'
        ' result would stand for another model; register an experiment that'
        f' has this {others[0]}, and tune that'
    )
  if compiler.find_target() == 'cpu':
    raise main.UsageError(
        '--write needs estimates of the compiler for TPUs: pip install'
        ' pax_softmoe[tpu]'
    )


def _check(
    arguments: argparse.Namespace, name: str, folder: pathlib.Path
) -> int:
  """Compares a compilation with a recorded one, or records it."""
  experiment = jobs.find_experiment(name)
  from pax_softmoe.experiments import stored
  from pax_softmoe.tuning import check

  if arguments.slice or arguments.set:
    raise main.UsageError('--check has its own slice and settings')
  found = check.compile_cut(experiment, folder)
  if arguments.write:
    path = stored.write_file(check.file_name(name), found)
    print(f'Recorded in {path}', file=sys.stderr)
  differences = check.differences(check.recorded(name), found)
  if arguments.json:
    json_output.show({'found': found, 'differences': differences})
  elif differences:
    print(f'{name} does not compile as recorded:', *differences, sep='\n  ')
  else:
    print(
        f'{name} compiles as recorded: {found["compute_ms"]:.2f} ms compute,'
        f' {found["exposed_ms"]:.2f} ms exposed'
    )
  return 1 if differences else 0


def _explain(arguments: argparse.Namespace, last: pathlib.Path) -> int:
  from pax_softmoe.tuning import table

  if not last.exists():
    raise main.UsageError(
        f'there is no sweep of {arguments.experiment} on {arguments.slice} yet;'
        ' run the same without --explain first'
    )
  result = _read(last)
  points = result.points
  if not 1 <= arguments.explain <= len(points):
    raise main.UsageError(f'--explain: points are 1 to {len(points)}')
  point = points[arguments.explain - 1]
  if arguments.json:
    json_output.show(dataclasses.asdict(point))
    return 0
  tune_output.print_table([table.columns(point, result.usable_gib)])
  print(table.explain(point))
  return 0


def _read(path: os.PathLike) -> Any:
  """Returns a `Result`; raises UsageError if the file has none."""
  from pax_softmoe.tuning import result

  try:
    return result.read(path)
  except ValueError as error:
    raise main.UsageError(str(error)) from error


def _mesh(text: str) -> tuple[int, ...]:
  return tuple(int(n) for n in text.split('x'))
