"""Every registered experiment against its recorded settings.

A change of any default shows here. If it is meant, `make golden` records it.
"""

from collections.abc import Iterator
import json
import pathlib
from typing import Any

import fiddle as fdl
from pax_softmoe.model_size import catalogue
from pax_softmoe.tools import jobs
from pax_softmoe.tools import list_command
import pytest

GOLDEN = pathlib.Path(__file__).parent / 'golden' / 'experiments'


def dump(name: str) -> str:
  """Returns an experiment's task and data sets, without what is default."""
  experiment = jobs.find_experiment(name)()
  lines = list(_lines('task', experiment.task(), 0))
  for dataset in experiment.datasets():
    lines += _lines('dataset', dataset, 0)
  return '\n'.join(lines) + '\n'


def _lines(name: str, value: Any, depth: int) -> Iterator[str]:
  indent = '  ' * depth
  if not isinstance(value, fdl.Config):
    yield f'{indent}{name} = {_text(value)}'
    return
  cls = fdl.get_callable(value)
  yield f'{indent}{name}: {cls.__name__}'
  default = fdl.ordered_arguments(type(value)(cls))
  for field, inner in fdl.ordered_arguments(value).items():
    if field not in default or inner != default[field]:
      yield from _lines(field, inner, depth + 1)


def _text(value: Any) -> str:
  if isinstance(value, type):
    return value.__name__
  if isinstance(value, (tuple, list)):
    return '[' + ', '.join(map(_text, value)) + ']'
  return repr(value)


@pytest.mark.parametrize('name', jobs.registered())
def test_experiment_equals_its_golden_text(name):
  got = dump(name)
  assert ' at 0x' not in got
  want = (GOLDEN / f'{name}.txt').read_text()
  assert got == want, f'{name} has changed; if it should, run `make golden`'


def test_there_is_no_golden_text_of_what_is_gone():
  assert {p.stem for p in GOLDEN.glob('*.txt')} == set(jobs.registered())


def described(name: str) -> dict[str | None, dict[str, Any]]:
  """Returns an experiment's descriptions, by slice, as JSON has them."""
  cls = jobs.find_experiment(name)
  from pax_softmoe.experiments import description
  from pax_softmoe.experiments import stored

  found = {None: description.describe(cls)}
  for slices in sorted(stored.entries(name)):
    given = {'SLICE': slices}
    found[slices] = description.describe(cls.with_settings(**given), given)
  return {k: json.loads(json.dumps(v)) for k, v in found.items()}


@pytest.mark.parametrize('name', jobs.registered())
def test_catalogue_has_what_is_computed(name, monkeypatch):
  monkeypatch.setattr(catalogue, '_has_one_device', lambda: True)
  want = described(name)
  for slices, facts in want.items():
    got = catalogue.read(name, slices)
    assert got is not None, 'experiments have changed: run `make golden`'
    assert json.loads(json.dumps(got)) == facts, 'run `make golden`'
  listed = json.loads(list_command.catalogue().read_text())[name]
  assert listed == {key: want[None][key] for key in listed}
  assert len(listed) == 7


def test_catalogue_has_nothing_that_is_gone():
  found = json.loads(list_command.catalogue().read_text())
  assert list(found) == jobs.registered()
  files = {path.stem for path in catalogue.folder().glob('*.json')}
  names = {name.partition('@')[0] for name in files}
  assert names == {*jobs.registered(), 'common'}


def record() -> None:
  """Writes texts and catalogue of all experiments, and removes other texts."""
  texts = {name: dump(name) for name in jobs.registered()}
  GOLDEN.mkdir(parents=True, exist_ok=True)
  for path in GOLDEN.glob('*.txt'):
    path.unlink()
  for name, text in texts.items():
    (GOLDEN / f'{name}.txt').write_text(text)
  found = {name: described(name) for name in jobs.registered()}
  catalogue.write({
      (name, s): facts for name, of in found.items() for s, facts in of.items()
  })
  keys = list_command.facts(next(iter(found))).keys()
  rows = {name: {k: of[None][k] for k in keys} for name, of in found.items()}
  list_command.catalogue().write_text(json.dumps(rows, indent=1) + '\n')


if __name__ == '__main__':
  record()
