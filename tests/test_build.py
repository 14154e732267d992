"""The BUILD files say what the packages import. Needs no Bazel."""

import ast
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parents[1]
# By the names of Bazel, with links where there are any.
PACKAGES = sorted(
    folder.relative_to(ROOT)
    for top in (ROOT / 'pax_softmoe', *(ROOT / 'pax_softmoe').rglob('*'))
    for folder in (top, *(top.rglob('*') if top.is_symlink() else ()))
    if (folder / '__init__.py').exists()
)


def imported(path: pathlib.Path) -> set[str]:
  """Returns the packages of this project that a file imports, as labels."""
  found = set()
  for node in ast.walk(ast.parse(path.read_text())):
    names = []
    if isinstance(node, ast.Import):
      names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
      names = [f'{node.module}.{alias.name}' for alias in node.names]
    for name in names:
      parts = name.split('.')
      while parts and pathlib.Path(*parts) not in PACKAGES:
        parts.pop()
      if parts:
        found.add('//' + '/'.join(parts))
  return found


def test_there_are_packages():
  names = {str(package) for package in PACKAGES}
  assert {'pax_softmoe', 'pax_softmoe/layers', 'pax_softmoe/tools'} <= names


@pytest.mark.parametrize('package', PACKAGES, ids=str)
def test_a_package_depends_on_what_it_imports(package):
  (call,) = [
      node.value
      for node in ast.parse((ROOT / package / 'BUILD').read_text()).body
      if getattr(node.value.func, 'id', '') == 'softmoe_package'
  ]
  values = {k.arg: k.value for k in call.keywords}
  deps = ast.literal_eval(values['deps']) if 'deps' in values else []
  want = set().union(*map(imported, (ROOT / package).glob('*.py')))
  assert deps == sorted(want - {f'//{package}'})


def test_bazel_looks_for_packages_in_no_environment():
  ignored = (ROOT / '.bazelignore').read_text().split()
  named = set()
  for path in (ROOT / 'Makefile', *(ROOT / 'docs').glob('*.md')):
    named |= set(re.findall(r'(?<![\w/])\.venv(?:-\w+)?', path.read_text()))
  assert '.venv-new' in named
  assert named - set(ignored) == set()


def test_bazel_builds_every_folder_with_a_build_file():
  (patterns,) = re.findall(
      r'targets=\((.*)\)', (ROOT / 'bazel/test').read_text()
  )
  tops = {pattern.split('/')[2].split(':')[0] for pattern in patterns.split()}
  packages = {'' if str(p) == '.' else p.parts[0] for p in bazel_packages()}
  assert packages - tops == {'experiments', 'tools'}  # By their other names.


def bazel_packages() -> list[pathlib.Path]:
  """Returns the folders of the checkout that have a BUILD file."""
  files = subprocess.run(
      ['git', 'ls-files', 'BUILD', '*/BUILD'],
      cwd=ROOT,
      check=True,
      capture_output=True,
      text=True,
  ).stdout.split()  # pyformat: disable
  return [pathlib.Path(file).parent for file in files]
