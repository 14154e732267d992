"""Finds the mesh, sharding and remat policy for a TPU v4 slice, without a TPU.

  softmoe tune SoftMoEH14 --slice=v4-128
  softmoe tune SoftMoEH14 --slice=v4-128 --images_per_chip=16 --remat=full,none
  softmoe tune SoftMoEH14 --slice=v4-128 --explain=1
  softmoe tune --compare old.json new.json

Compiles the real train step for the slice; all times are estimates. What was
compiled is kept, so that the same command goes on where it was stopped.
"""

import argparse
from collections.abc import Callable
import json
import pathlib
import sys
from typing import Any

from pax_softmoe.tools import jobs
from pax_softmoe.tools import main


def add_arguments(parser: argparse.ArgumentParser) -> None:
  parser.add_argument('experiment', nargs='?', help='name, see `softmoe list`')
  parser.add_argument('--slice', help='v4-8, v4-16, … v4-1024')
  parser.add_argument(
      '--meshes',
      type=_list_of(_mesh),
      metavar='RxDxExM,…',
      help='sizes of replica, data, expert, mdl (default: all that Pax can do)',
  )
  parser.add_argument(
      '--presets',
      type=_list_of(str),
      help=(
          'sharding presets, with overrides of single letters as'
          ' fsdp_dense+expert_weights.h=data (default: all)'
      ),
  )
  parser.add_argument(
      '--remat', type=_list_of(str), help='remat policies (default: all)'
  )
  batch = parser.add_mutually_exclusive_group()
  batch.add_argument(
      '--images_per_chip', type=_list_of(int), help='(default: 16,32,64)'
  )
  batch.add_argument(
      '--global_batch', type=int, help='images of all chips, fixed'
  )
  parser.add_argument(
      '--first_moment',
      type=_list_of(str),
      help="float32, bfloat16 or both (default: the experiment's own)",
  )
  parser.add_argument(
      '--finalists',
      type=int,
      default=3,
      help='points to compile with full effort (default: 3)',
  )
  parser.add_argument(
      '--budget_minutes',
      type=float,
      default=15.0,
      help='when to come to an end (default: 15)',
  )
  parser.add_argument(
      '--workers',
      type=int,
      help='how many compile at once (default: by memory)',
  )
  parser.add_argument(
      '--cache', type=pathlib.Path, help='default: ~/.cache/pax_softmoe/tune'
  )
  parser.add_argument(
      '--output', type=pathlib.Path, help='folder for the picture and the JSON'
  )
  parser.add_argument(
      '--explain',
      type=int,
      metavar='N',
      help='show where the time of point N of the last sweep goes',
  )
  parser.add_argument(
      '--compare',
      nargs=2,
      type=pathlib.Path,
      metavar='JSON',
      help='show what changed between two results',
  )
  jobs.add_setting_argument(parser)
  parser.add_argument('--json', action='store_true', help='print JSON')


def run(arguments: argparse.Namespace) -> int:
  from pax_softmoe.tuning import report

  if arguments.compare:
    rows = report.compare(*map(_read, arguments.compare))
    if arguments.json:
      print(json.dumps(rows))
    else:
      _print_table(rows)
    return 0
  if not arguments.experiment or not arguments.slice:
    raise main.UsageError('tune needs an experiment and --slice, see --help')
  from pax_softmoe.tuning import compiler

  folder = arguments.cache or compiler.default_folder()
  name = arguments.experiment.removeprefix(jobs.EXPERIMENTS + '.')
  last = folder / f'{name}_{arguments.slice}.json'
  if arguments.explain is not None:
    return _explain(arguments, last)
  try:
    result = _sweep(arguments, name, folder)
  except KeyboardInterrupt:
    print(
        'softmoe: stopped; the same command goes on where it was',
        file=sys.stderr,
    )
    return 1
  last.write_text(json.dumps(result))
  if arguments.output:
    from pax_softmoe.tuning import picture

    jobs.make_folder(arguments.output)
    (arguments.output / last.name).write_text(json.dumps(result, indent=1))
    picture.draw(result, arguments.output / last.with_suffix('.png').name)
  if arguments.json:
    print(json.dumps(result))
  else:
    _print(result)
    if arguments.output:
      print(f'\nPicture and JSON are in {arguments.output}')
  return 0 if any(p['fits'] for p in result['points']) else 1


def _sweep(
    arguments: argparse.Namespace, name: str, folder: pathlib.Path
) -> dict[str, Any]:
  """Returns what `report.as_json` makes of a new sweep."""
  settings = jobs.parse_settings(arguments.set)
  experiment = jobs.find_experiment(name).with_settings(**settings)
  from pax_softmoe.analysis import tpu
  from pax_softmoe.tuning import arithmetic
  from pax_softmoe.tuning import compiler
  from pax_softmoe.tuning import progress
  from pax_softmoe.tuning import report
  from pax_softmoe.tuning import space
  from pax_softmoe.tuning import sweep
  from pax_softmoe.tuning import trials as trials_lib

  if experiment.DCN_MESH_SHAPE:
    raise main.UsageError(
        'tune is for one slice; leave DCN_MESH_SHAPE at None and multiply the'
        ' mesh by it afterwards'
    )
  images = arguments.images_per_chip or space.DEFAULT_IMAGES_PER_CHIP
  if arguments.global_batch:
    chips = tpu.find_slice(arguments.slice).chips
    if arguments.global_batch % chips:
      raise main.UsageError(
          f'--global_batch: {arguments.global_batch} images cannot be split'
          f' over {chips} chips'
      )
    images = (arguments.global_batch // chips,)
  points = space.points(
      experiment,
      space.Space(
          slice_name=arguments.slice,
          meshes=arguments.meshes,
          presets=arguments.presets,
          remats=arguments.remat,
          images_per_chip=images,
          first_moments=arguments.first_moment or (None,),
      ),
  )
  if not points:
    raise main.UsageError(
        f'no point of these can run {name} on a {arguments.slice}; give other'
        ' --images_per_chip, --meshes or --presets'
    )
  target = compiler.find_target()
  compile_point = compiler.Compiler(
      name, settings, arguments.slice, target, folder
  )
  model = arithmetic.Model(experiment)
  with progress.Bar() as bar:
    trials = [
        trials_lib.Trial(point, model.estimate(arguments.slice, point))
        for point in points
    ]
    sweep.Sweep(
        trials,
        compile_point,
        seconds=60 * arguments.budget_minutes,
        finalists=arguments.finalists,
        workers=arguments.workers or sweep.default_workers(),
        has_cycles=target == 'tpu',
        show=bar.show,
        cached=compile_point.cached,
    ).run()
  result = report.as_json(model, name, arguments.slice, trials, settings)
  if target == 'cpu':
    result['note'] = f'{report.NO_LIBTPU} {result["note"]}'
  for point in result['points']:
    point['flag'] = jobs.experiment_flag(name, point['settings'])
  return result


def _print(result: dict[str, Any]) -> None:
  """Prints the ranked table, what to paste, and what it all rests on."""
  from pax_softmoe.tuning import report

  points = result['points']
  shown = [p for p in points if p['status'] != 'not compiled'] or points[:10]
  rows = [
      {'#': str(i + 1), **report.columns(p)}
      for i, p in enumerate(points)
      if p in shown
  ]
  print(
      f'{result["experiment"]} on {result["slice"]}, {result["chips"]} chips:'
      ' estimates, best first'
  )
  _print_table(rows)
  rest = len(points) - len(shown)
  if rest:
    print(
        f'{rest} more were left out by arithmetic or for lack of time; --json'
        ' has all.'
    )
  if points[0]['fits']:
    variables = ' '.join(f'{k}={v}' for k, v in result['environment'].items())
    print('\nThe best point, with the flags of the compiler that it relies on:')
    print(f'  {variables} python -m paxml.main "{points[0]["flag"]}"')
  print(f'\n{result["note"]}')
  constants = ', '.join(f'{k} {v:g}' for k, v in result['constants'].items())
  print(f'Constants: {constants}')


def _print_table(rows: list[dict[str, str]]) -> None:
  from rich import console
  from rich import table as rich_table

  table = rich_table.Table(box=None, pad_edge=False, header_style='bold')
  for title in rows[0] if rows else ('nothing in common',):
    table.add_column(title, no_wrap=title != 'verdict')
  for row in rows:
    table.add_row(*row.values())
  console.Console(width=max(200, console.Console().width)).print(table)


def _explain(arguments: argparse.Namespace, last: pathlib.Path) -> int:
  from pax_softmoe.tuning import report

  if not last.exists():
    raise main.UsageError(
        f'there is no sweep of {arguments.experiment} on {arguments.slice} yet;'
        ' run the same without --explain first'
    )
  points = _read(last)['points']
  if not 1 <= arguments.explain <= len(points):
    raise main.UsageError(f'--explain: points are 1 to {len(points)}')
  point = points[arguments.explain - 1]
  if arguments.json:
    print(json.dumps(point))
    return 0
  _print_table([report.columns(point)])
  print(report.explain(point))
  return 0


def _read(path: pathlib.Path) -> dict[str, Any]:
  """Returns a result; raises UsageError if the file has none."""
  try:
    result = json.loads(path.read_text())
    result['points']
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise main.UsageError(f'{path} is no result of tune: {error}') from error
  return result


def _list_of(one: Callable[[str], Any]) -> Callable[[str], list[Any]]:
  def parse(text: str) -> list[Any]:
    return [one(part) for part in text.split(',')]

  parse.__name__ = 'list'
  return parse


def _mesh(text: str) -> tuple[int, ...]:
  return tuple(int(n) for n in text.split('x'))
