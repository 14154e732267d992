"""Describes one experiment: settings, sizes, and where every array lives.

softmoe describe SoftMoEH14
softmoe describe SoftMoEH14 --slice=v4-128
softmoe describe SoftMoEH14 --set NUM_EXPERTS=256 --json
"""

import argparse
from collections.abc import Mapping
from collections.abc import Sequence
import itertools
import sys
from typing import Any

from pax_softmoe.model_size import catalogue
from pax_softmoe.sharding import axis_rules
from pax_softmoe.tools import jobs
from pax_softmoe.tools import json_output
from pax_softmoe.tools import tables

# What is not shown among the numbers, but under a title of its own.
_PARTS = ('about', 'published', 'settings', 'weights', 'activations', 'stored')


def add_arguments(parser: argparse.ArgumentParser) -> None:
  parser.add_argument('experiment', help='name, see `softmoe list`')
  parser.add_argument(
      '--slice',
      help="as tuned for 'v4-128' or other slices; the same as --set SLICE=…",
  )
  jobs.add_setting_argument(parser)
  parser.add_argument('--json', action='store_true', help='print JSON')


def run(arguments: argparse.Namespace) -> int:
  name = arguments.experiment.removeprefix(jobs.EXPERIMENTS + '.')
  jobs.check_name(name)
  settings = jobs.parse_settings(arguments.set)
  if arguments.slice:
    settings['SLICE'] = arguments.slice
  facts = None
  if settings.keys() <= {'SLICE'}:
    facts = catalogue.read(name, settings.get('SLICE'))
  if facts is None:
    facts = _computed(name, settings)
  if arguments.json:
    json_output.show(facts)
    return 0

  print(f'{name}: {facts["about"]}\n')
  for key, value in facts.items():
    if key not in _PARTS:
      value = f'{value:,}' if isinstance(value, int) else value
      value = f'{value:.4g}' if isinstance(value, float) else value
      print(f'  {key:24} {value if value != {} else "none"}')
  print()
  if 'published' in facts:
    _print_published(facts['published'])
  if 'stored' in facts:
    _print_stored(facts['settings']['SLICE']['value'], facts['stored'])
  _print_settings(facts['settings'])
  weights, activations = (
      [
          axis_rules.Array(**{k: a[k] for k in catalogue.ARRAY})
          for a in facts[kind]
      ]
      for kind in ('weights', 'activations')
  )
  _print_arrays('weight', weights)
  total = sum(array.bytes_per_device for array in weights)
  print(f'\n  weights on each device   {total / 2**30:.2f} GiB\n')
  _print_arrays('activation of a training step', activations)
  return 0


def _computed(name: str, settings: dict[str, Any]) -> dict[str, Any]:
  """Returns what an experiment is with some settings changed."""
  print('loading PaxML and TensorFlow …', file=sys.stderr, flush=True)
  cls = jobs.find_experiment(name)
  from pax_softmoe.experiments import description

  changed = cls.with_settings(**settings) if settings else cls
  return description.describe(changed, settings)


def _print_published(published: Mapping[str, Any]) -> None:
  """Prints what the paper reports of the experiment."""
  days = published['days']
  days = f'; {days:,} days of one TPU v3 core' if days else ''
  print(
      f'  Published, in percent (table {published["table"]} of the paper{days})'
  )
  for label, value in published['results'].items():
    print(f'  {label:24} {value}')
  print()


def _print_settings(settings: Mapping[str, Mapping[str, Any]]) -> None:
  """Prints all settings in groups, with what changed them."""
  table = tables.new()
  for column in ('setting', 'value', 'default', 'set by'):
    table.add_column(column, no_wrap=True)
  # What a line has no room for is cut off.
  table.add_column('meaning')
  groups = itertools.groupby(settings.items(), lambda item: item[1]['group'])
  for group, rows in groups:
    table.add_row(f'\n{group}')
    for name, row in rows:
      changed = row['set_by'] is not None
      default = _text(row['default']) if changed else ''
      by, meaning = row['set_by'] or '', tables.line(row['meaning'])
      table.add_row(f'  {name}', _text(row['value']), default, by, meaning)
  tables.show(table, 140)
  print()


def _text(value: Any) -> str:
  """Returns a value as one would write it, but for large whole numbers."""
  if isinstance(value, int) and not isinstance(value, bool):
    return f'{value:_}'
  return repr(tuple(value) if isinstance(value, list) else value)


def _print_stored(slices: str, tuned: Mapping[str, Any]) -> None:
  """Prints what is stored for a slice."""
  from pax_softmoe.tpu import hardware

  chip = hardware.parse_slices(slices)[1].chip
  print(
      f'  Tuned for {slices}: estimates of the compiler for TPU {chip.name} and'
      ' of arithmetic, not measured'
  )
  estimate = tuned['estimate']
  gigabytes = ', '.join(
      f'{kind} {found["gb"]:.3g}'
      for kind, found in estimate['collectives'].items()
  )
  versions = ', '.join(f'{k} {v}' for k, v in tuned['versions'].items())
  for name, value in (
      ('memory', f'{estimate["hbm_gib"]:.2f} of {chip.usable_hbm_gib} GiB'),
      ('exchanged, GB a chip', gigabytes or 'nothing'),
      ('compute', f'{estimate["compute_ms"]:.0f} ms'),
      ('exchanges, all', f'{estimate["exchange_ms"]:.0f} ms'),
      ('exchanges, exposed', f'{estimate["exposed_ms"]:.0f} ms'),
      ('step', f'{estimate["step_ms"]:.0f} ms: compute and exposed'),
      ('images/s/chip', f'{estimate["images_per_second_per_chip"]:.1f}'),
      ('MFU', f'{estimate["mfu"]:.1%}'),
      ('compiled by', versions),
      *tuned['settings'].items(),
      *tuned['environment'].items(),
  ):
    print(f'  {name:24} {value}')
  print()


def _print_arrays(title: str, arrays: Sequence[axis_rules.Array]) -> None:
  """Prints a table of arrays."""
  table = tables.new()
  for column in (title, 'shape', 'split over', 'MiB a device'):
    table.add_column(column, no_wrap=True)
  for array in arrays:
    table.add_row(
        array.name,
        ' x '.join(map(str, array.shape)) or 'scalar',
        array.split_text(),
        f'{array.bytes_per_device / 2**20:,.2f}',
    )
  tables.show(table, 110)
