"""Writes docs/settings.md: all settings as they are declared, from the catalogue.

    python -m pax_softmoe.bench.make_settings_page

`make golden` runs it after the catalogue is written.
"""

import collections
import json
import pathlib
from typing import Any

ROOT = pathlib.Path(__file__).parents[2]
PAGE = ROOT / 'docs' / 'settings.md'

_COMMON, _SETTINGS = 'common.json', 'settings'
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


def text(catalogue: pathlib.Path) -> str:
  """Returns the page.

  Args:
    catalogue: the folder `experiments/catalogue`.
  """
  declared = json.loads((catalogue / _COMMON).read_text())[_SETTINGS]
  names, setters = {}, collections.defaultdict(set)
  for path in sorted(set(catalogue.glob('*.json')) - {catalogue / _COMMON}):
    for name, (_, by, number) in json.loads(path.read_text())[
        _SETTINGS
    ].items():
      names[number] = name
      # What has no dot is a registered experiment.
      if by and '.' in by:
        setters[number].add(by)
  lines, group = [_HEAD], None
  for number, setting in enumerate(declared):
    if setting['group'] != group:
      group = setting['group']
      lines += [
          f'\n## {group}\n',
          '| setting | takes | default | meaning | set by |',
          '|---|---|---|---|---|',
      ]
    cells = [
        f'`{names[number]}`' + '*' * setting['kept'],
        setting['takes'],
        f'`{_shown(setting["default"])}`',
        setting['meaning'],
        ', '.join(f'`{by}`' for by in sorted(setters[number])),
    ]
    lines.append('| ' + ' | '.join(c.replace('|', '\\|') for c in cells) + ' |')
  return '\n'.join(lines) + '\n'


def _shown(value: Any) -> str:
  return f'{value:,}' if type(value) is int else repr(value)


def main() -> None:
  PAGE.write_text(text(ROOT / 'experiments' / 'catalogue'))


if __name__ == '__main__':
  main()
