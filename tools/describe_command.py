"""Describes one experiment: settings, sizes, and where every array lives.

softmoe describe SoftMoEH14
softmoe describe SoftMoEH14 --slice=v4-128
softmoe describe SoftMoEH14 --set NUM_EXPERTS=256 --json
"""

import argparse
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from pax_softmoe.tools import jobs
from pax_softmoe.tools import json_output
from pax_softmoe.tools import tables


def add_arguments(parser: argparse.ArgumentParser) -> None:
  parser.add_argument('experiment', help='name, see `softmoe list`')
  parser.add_argument(
      '--slice',
      help="as tuned for 'v4-128' or other slices; the same as --set SLICE=…",
  )
  jobs.add_setting_argument(parser)
  parser.add_argument('--json', action='store_true', help='print JSON')


def run(arguments: argparse.Namespace) -> int:
  cls = jobs.find_experiment(arguments.experiment)
  settings = jobs.parse_settings(arguments.set)
  if arguments.slice:
    settings['SLICE'] = arguments.slice
  experiment = cls.with_settings(**settings)()
  from pax_softmoe.analysis import model_size
  from pax_softmoe.analysis import placement
  from pax_softmoe.experiments import stored

  facts = model_size.describe(experiment)
  tuned = experiment.SLICE and stored.find(cls, experiment.SLICE)
  facts['mesh'] = list(experiment.mesh_shape())
  facts['sharding'] = experiment.SHARDING
  facts['sharding_overrides'] = dict(experiment.SHARDING_OVERRIDES)
  weights = placement.weights(experiment)
  activations = placement.activations(experiment)
  if arguments.json:
    facts['weights'] = [array.as_dict() for array in weights]
    facts['activations'] = [array.as_dict() for array in activations]
    if tuned:
      facts['stored'] = tuned
    json_output.show(facts)
    return 0

  print(f'{cls.__name__}: {cls.__doc__}\n')
  for name, value in facts.items():
    value = f'{value:,}' if isinstance(value, int) else value
    value = f'{value:.4g}' if isinstance(value, float) else value
    print(f'  {name:24} {value if value != {} else "none"}')
  print()
  if tuned:
    _print_stored(experiment.SLICE, tuned)
  _print_arrays('weight', weights)
  total = sum(array.bytes_per_device for array in weights)
  print(f'\n  weights on each device   {total / 2**30:.2f} GiB\n')
  _print_arrays('activation of a training step', activations)
  return 0


def _print_stored(slices: str, tuned: Mapping[str, Any]) -> None:
  """Prints what is stored for a slice."""
  from pax_softmoe.analysis import tpu

  print(
      f'  Tuned for {slices}: estimates of the compiler for TPU v4 and of'
      ' arithmetic, not measured'
  )
  estimate = tuned['estimate']
  gigabytes = ', '.join(
      f'{kind} {found["gb"]:.3g}'
      for kind, found in estimate['collectives'].items()
  )
  versions = ', '.join(f'{k} {v}' for k, v in tuned['versions'].items())
  for name, value in (
      ('memory', f'{estimate["hbm_gib"]:.2f} of {tpu.USABLE_HBM_GIB} GiB'),
      ('exchanged, GB a chip', gigabytes or 'nothing'),
      ('compute', f'{estimate["compute_ms"]:.0f} ms'),
      ('communication', f'{estimate["communication_ms"]:.0f} ms'),
      ('step', f'{estimate["step_ms"]:.0f} ms without overlap'),
      ('images/s/chip', f'{estimate["images_per_second_per_chip"]:.1f}'),
      ('MFU', f'{estimate["mfu"]:.1%}'),
      ('compiled by', versions),
      *tuned['settings'].items(),
      *tuned['environment'].items(),
  ):
    print(f'  {name:24} {value}')
  print()


def _print_arrays(title: str, arrays: Sequence[Any]) -> None:
  """Prints a table of `placement.Array`s."""
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
