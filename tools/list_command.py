"""Lists all experiments, with what a user chooses by.

softmoe list
softmoe list --json
"""

import argparse
import importlib.util
import json
import pathlib
from typing import Any

from pax_softmoe.tools import jobs
from pax_softmoe.tools import json_output
from pax_softmoe.tools import tables

# What `facts` found for every experiment; `make golden` writes it.
_CATALOGUE = 'catalogue.json'


def add_arguments(parser: argparse.ArgumentParser) -> None:
  parser.add_argument('--json', action='store_true', help='print JSON')


def run(arguments: argparse.Namespace) -> int:
  known = json.loads(catalogue().read_text())
  # One that was registered since takes seconds.
  rows = [
      {'experiment': name, **(known.get(name) or facts(name))}
      for name in jobs.registered()
  ]
  if arguments.json:
    json_output.show(rows)
    return 0
  table = tables.new()
  table.add_column('experiment', no_wrap=True)
  for title in (
      'parameters',
      'GFLOP/image',
      'tokens',
      'MoE blocks',
      'experts',
      'slots/expert',
  ):
    table.add_column(title, justify='right', no_wrap=True)
  for row in rows:
    table.add_row(
        row['experiment'],
        f'{row["parameters"]:,}',
        f'{row["gflop_per_image"]:.3g}',
        *(str(row[k] or '') for k in ('tokens', 'moe_layers')),
        str(row['num_experts'] if row['moe_layers'] else ''),
        str(row['slots_per_expert'] or ''),
    )
  tables.show(table, 100)
  return 0


def catalogue() -> pathlib.Path:
  """Returns the file of all rows; importing the experiments takes seconds."""
  module = importlib.util.find_spec(jobs.EXPERIMENTS).origin
  return pathlib.Path(module).with_name(_CATALOGUE)


def facts(name: str) -> dict[str, Any]:
  """Returns what the table shows of an experiment, by computing it."""
  experiment = jobs.find_experiment(name)()
  from pax_softmoe.model_size import counts

  return counts.describe(experiment)
