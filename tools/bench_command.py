"""Measures every router against the dense layer, turn by turn.

  softmoe bench
  softmoe bench --parts layer --batch=4 --tokens=64 --experts=16 --json

The layer is norm, MLP or mixture, and residual; the model is a vision
transformer with experts in its second half. Forward and forward with backward,
in float32, with random weights. The defaults are S/16 with 128 experts. Models
of 12 blocks of that size need about 8 GB.

With --parts plain, the Soft MoE layer and a plain formulation of it on JAX's
defaults take turns, each in a process of its own; ours is without XLA's thunk
runtime (--xla_cpu_use_thunk_runtime=false), whose products of matrices are slow.

All other systems take turns in one child process, which keeps freed memory
instead of giving it back to the system (MALLOC_MMAP_MAX_,
MALLOC_TRIM_THRESHOLD_ and MALLOC_ARENA_MAX, unless you set them). Each turn
gives a ratio to the dense system; shown are median, least and greatest.
"""

import argparse
import contextlib
import os
from typing import Any

from pax_softmoe.tools import arguments as arguments_of
from pax_softmoe.tools import child
from pax_softmoe.tools import jobs
from pax_softmoe.tools import json_output
from pax_softmoe.tools import quiet
from pax_softmoe.tools import tables

_SHAPE = {
    'batch': (16, 'images'),
    'tokens': (196, 'of an image'),
    'dims': (384, 'of the model'),
    'experts': (128, 'of a layer'),
    'slots': (1, 'of each expert'),
    'hidden': (1536, 'dims of each MLP'),
    'layers': (12, 'blocks of the model'),
    'heads': (6, 'of attention'),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
  for name, (default, what) in _SHAPE.items():
    parser.add_argument(
        f'--{name}',
        type=arguments_of.positive_int,
        default=default,
        help=f'{name} {what} (default: {default})',
    )
  parser.add_argument(
      '--parts',
      nargs='+',
      choices=('layer', 'model', 'plain'),
      default=['layer', 'model'],
      help='what to measure (default: layer model)',
  )
  parser.add_argument(
      '--rounds',
      type=arguments_of.positive_int,
      default=15,
      help='turns of each (default: 15)',
  )
  parser.add_argument('--json', action='store_true', help='print JSON')


def run(arguments: argparse.Namespace) -> int:
  shape = {name: getattr(arguments, name) for name in _SHAPE}
  parts = [part for part in arguments.parts if part != 'plain']
  result = {'shape': shape, 'rounds': arguments.rounds}
  if parts:
    result = child.call(
        'pax_softmoe.bench.speed:run',
        shape=shape,
        parts=parts,
        rounds=arguments.rounds,
    )
  if 'plain' in arguments.parts:
    result['plain'] = {
        which: _against_plain(shape, which, arguments.rounds)
        for which in ('forward', 'forward_backward')
    }
  if arguments.json:
    json_output.show(result)
  else:
    _print(result)
  return 0


def _against_plain(
    shape: dict[str, int], which: str, rounds: int
) -> dict[str, Any]:
  """Returns milliseconds of both sides, and how many times ours is faster."""
  with quiet.startup():
    from pax_softmoe.bench import speed

  function = 'pax_softmoe.bench.plain:turns'
  environments = {
      'package': jobs.without_thunks(jobs.child_environment()),
      'plain': {**os.environ, 'TPU_SKIP_MDS_QUERY': '1'},
  }
  with contextlib.ExitStack() as stack:
    sides = {
        side: stack.enter_context(
            child.Turns(
                function, environment, side=side, which=which, shape=shape
            )
        )
        for side, environment in environments.items()
    }
    seconds = {side: [] for side in sides}
    for turn in sides.values():
      turn()  # Compiles.
    for _ in range(rounds):
      for side, turn in sides.items():
        seconds[side].append(turn())
  pairs = zip(seconds['package'], seconds['plain'])
  return {
      'ms': {
          side: speed.spread([1e3 * s for s in values])
          for side, values in seconds.items()
      },
      'speedup': speed.spread([plain / ours for ours, plain in pairs]),
  }


def _print(result: dict[str, Any]) -> None:
  table = tables.new()
  for title in ('what', 'router', 'ms', 'times dense', 'least', 'greatest'):
    table.add_column(title, justify='left' if title == 'router' else 'right')
  for part in ('layer', 'model'):
    for which, rows in result.get(part, {}).items():
      title = f'{part} {which}'.replace('_', ' + ')
      for router, row in rows.items():
        if 'error' in row:
          table.add_row(title, router, row['error'])
          continue
        ratios = row['ratio']
        table.add_row(
            title,
            router,
            f'{row["ms"]["median"]:.1f}',
            *(f'{ratios[k]:.2f}' for k in ('median', 'min', 'max')),
        )
  if table.rows:
    tables.show(table, 100)
    print(f'\nmedians of {result["rounds"]} turns on {result["device"]}')
  for which, row in result.get('plain', {}).items():
    ms, speedup = row['ms'], row['speedup']
    print(
        f'Soft MoE layer, {which.replace("_", " + ")}:'
        f' {ms["package"]["median"]:.1f} ms, plain {ms["plain"]["median"]:.1f}'
        f' ms, {speedup["median"]:.2f} times as fast ({speedup["min"]:.2f} to'
        f' {speedup["max"]:.2f})'
    )
