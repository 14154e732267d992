"""Measures every router against the dense layer, turn by turn.

  softmoe bench
  softmoe bench --parts layer --batch=4 --tokens=64 --experts=16 --json

The layer is norm, MLP or mixture, and residual; the model is a vision
transformer with experts in its second half. Forward and forward with backward,
in float32, with random weights. The defaults are S/16 with 128 experts. Models
of 12 blocks of that size need about 8 GB.

All systems take turns in one child process, which keeps freed memory instead of
giving it back to the system (MALLOC_MMAP_MAX_, MALLOC_TRIM_THRESHOLD_ and
MALLOC_ARENA_MAX, unless you set them). Each turn gives a ratio to the dense
system; shown are median, least and greatest.
"""

import argparse
import json
from typing import Any

from pax_softmoe.tools import child
from pax_softmoe.tools import main

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
        type=int,
        default=default,
        help=f'{name} {what} (default: {default})',
    )
  parser.add_argument(
      '--parts',
      nargs='+',
      choices=('layer', 'model'),
      default=['layer', 'model'],
      help='what to measure (default: both)',
  )
  parser.add_argument(
      '--rounds', type=int, default=15, help='turns of each (default: 15)'
  )
  parser.add_argument('--json', action='store_true', help='print JSON')


def run(arguments: argparse.Namespace) -> int:
  for name in (*_SHAPE, 'rounds'):
    if getattr(arguments, name) < 1:
      raise main.UsageError(f'--{name}: give 1 or more')
  result = child.call(
      'pax_softmoe.analysis.bench:run',
      shape={name: getattr(arguments, name) for name in _SHAPE},
      parts=arguments.parts,
      rounds=arguments.rounds,
  )
  if arguments.json:
    print(json.dumps(result))
  else:
    _print(result)
  return 0


def _print(result: dict[str, Any]) -> None:
  from rich import console
  from rich import table as rich_table

  table = rich_table.Table(box=None, pad_edge=False, header_style='bold')
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
  console.Console(width=max(100, console.Console().width)).print(table)
  print(f'\nmedians of {result["rounds"]} turns on {result["device"]}')
