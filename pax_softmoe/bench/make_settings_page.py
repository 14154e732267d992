"""Writes docs/settings.md: all settings as they are declared, from the catalogue.

    python -m pax_softmoe.bench.make_settings_page

`make golden` runs it after the catalogue is written.
"""

import collections
import pathlib
from typing import Any

from pax_softmoe.model_size import catalogue

PAGE = pathlib.Path(__file__).parents[2] / 'docs' / 'settings.md'

_HEAD = """# All settings

A setting is a class attribute in capitals of an experiment. `--set NAME=VALUE` of
`softmoe train`, `as_config(NAME=VALUE)` for `paxml.main` and a subclass change it;
[a value that it does not take](troubleshooting.md) is refused before anything runs.
`softmoe describe EXP` shows those of one experiment and where each was changed.

A checkpoint depends on settings with a *: a job goes on only with the values that it
began with. "Set by" has the recipes, routers and sizes that change the default; a
registered experiment sets besides what its name says.

This page is written by `make golden`.
"""


def text() -> str:
  """Returns the page."""
  groups, setters = {}, collections.defaultdict(set)
  for found in catalogue.every():
    for name, row in found['settings'].items():
      # Routers may declare one name in two ways.
      key = name, row['meaning']
      groups.setdefault(row['group'], {})[key] = row
      # What has no dot is a registered experiment.
      if row['set_by'] and '.' in row['set_by']:
        setters[key].add(row['set_by'])
  lines = [_HEAD]
  for group, rows in groups.items():
    lines += [
        f'\n## {group}\n',
        '| setting | takes | default | meaning | set by |',
        '|---|---|---|---|---|',
    ]
    for key, row in rows.items():
      cells = [
          f'`{key[0]}`' + '*' * row['kept'],
          row['takes'],
          f'`{_shown(row["default"])}`',
          row['meaning'],
          ', '.join(f'`{by}`' for by in sorted(setters[key])),
      ]
      cells = [cell.replace('|', '\\|') for cell in cells]
      lines.append(f'| {" | ".join(cells)} |')
  return '\n'.join(lines) + '\n'


def _shown(value: Any) -> str:
  return f'{value:,}' if type(value) is int else repr(value)


def main() -> None:
  PAGE.write_text(text())


if __name__ == '__main__':
  main()
