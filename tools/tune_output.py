"""Prints what `softmoe tune` found, for people."""

from collections.abc import Mapping
from collections.abc import Sequence
import shlex
from typing import Any

from pax_softmoe.tools import tables


def print_result(result: Any) -> None:
  """Prints the ranked table, what to paste, and what it all rests on."""
  from pax_softmoe.tuning import table

  points = result.points
  shown = [p for p in points if p.status != 'not compiled'] or points[:10]
  rows = [
      {'#': str(i + 1), **table.columns(p, result.usable_gib)}
      for i, p in enumerate(points)
      if p in shown
  ]
  print(
      f'{result.experiment} on {result.slice}, {result.chips} devices:'
      ' estimates, best first'
  )
  print_table(rows)
  rest = len(points) - len(shown)
  if rest:
    print(
        f'{rest} more were left out by arithmetic or for lack of time; --json'
        ' has all.'
    )
  if points[0].fits:
    print('\nThe best point, with the flags of the compiler that it relies on:')
    print_command(points[0].environment, points[0].flag)
  print(f'\n{result.note}')
  constants = ', '.join(f'{k} {v:g}' for k, v in result.constants.items())
  print(f'Constants: {constants}')


def print_command(environment: Mapping[str, str], flag: str) -> None:
  """Prints what to paste into a shell."""
  variables = ' '.join(f'{k}={shlex.quote(v)}' for k, v in environment.items())
  print(f'  {variables} python -m paxml.main "{flag}"')


def print_table(rows: Sequence[Mapping[str, str]]) -> None:
  """Prints rows of cells by title."""
  table = tables.new()
  for title in rows[0] if rows else ('nothing in common',):
    table.add_column(title, no_wrap=title != 'verdict')
  for row in rows:
    table.add_row(*row.values())
  tables.show(table, 200)
