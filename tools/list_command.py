"""Lists all experiments, with what a user chooses by.

softmoe list
softmoe list --json
"""

import argparse
import json

from pax_softmoe.tools import jobs
from pax_softmoe.tools import tables


def add_arguments(parser: argparse.ArgumentParser) -> None:
  parser.add_argument('--json', action='store_true', help='print JSON')


def run(arguments: argparse.Namespace) -> int:
  from pax_softmoe.analysis import model_size

  rows = []
  for name in jobs.registered():
    experiment = jobs.find_experiment(name)()
    rows.append({'experiment': name, **model_size.describe(experiment)})
  if arguments.json:
    print(json.dumps(rows))
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
