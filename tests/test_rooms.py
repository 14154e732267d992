"""Each module's tests are in a file of its name, in the same room."""

from collections.abc import Iterator
import pathlib

import pytest

TESTS = pathlib.Path(__file__).parent
PACKAGE = TESTS.parent / 'pax_softmoe'


def modules() -> Iterator[pathlib.Path]:
  """Yields the modules of the package, as paths within it."""
  rooms = [PACKAGE, *(path for path in PACKAGE.iterdir() if path.is_symlink())]
  for room in rooms:
    for path in sorted(room.rglob('*.py')):
      # Links are rooms of their own.
      name = path.relative_to(PACKAGE)
      is_linked = room == PACKAGE and (PACKAGE / name.parts[0]).is_symlink()
      if not path.name.startswith('__') and not is_linked:
        yield name


def test_there_are_modules_in_every_room():
  rooms = {str(path.parent) for path in modules()}
  assert {'.', 'experiments', 'tools', 'layers', 'data/read'} <= rooms


@pytest.mark.parametrize('module', modules(), ids=str)
def test_a_module_has_tests_of_its_name(module):
  tests = TESTS / module.with_name(f'test_{module.name}')
  assert tests.exists()
  assert '\ndef test_' in tests.read_text()
