"""The BUILD files say what the Python files import. Needs no Bazel."""

import ast
from collections.abc import Iterator
import dataclasses
import functools
import pathlib
import re
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
# Folders of Bazel packages as Bazel names them, by links where there are any.
TOPS = ('bazel', 'docs', 'pax_softmoe', 'tests')
RULES = ('softmoe_library', 'softmoe_binary', 'softmoe_test')


@dataclasses.dataclass(frozen=True)
class Target:
  """One call in a BUILD file.

  Attributes:
    label: '//pax_softmoe/layers:experts'.
    rule: the function that is called.
    srcs: paths below the checkout.
    deps: labels of what it imports.
    by_name: labels of what it imports by names.
    implicit: packages from PyPI, as the comments name them.
  """

  label: str
  rule: str
  srcs: tuple[str, ...]
  deps: tuple[str, ...]
  by_name: tuple[str, ...]
  implicit: tuple[str, ...]


def absolute(label: str, package: str) -> str:
  """Returns a label in its long form: '//a/b' is '//a/b:b'."""
  if label.startswith(':'):
    return f'//{package}{label}'
  if ':' not in label:
    return f'{label}:{label.rpartition("/")[2]}'
  return label


def read(build: pathlib.Path) -> Iterator[Target]:
  """Returns all targets with a name in a BUILD file."""
  package = build.parent.relative_to(ROOT).as_posix()
  package = '' if package == '.' else package
  text = build.read_text()
  for node in ast.parse(text).body:
    call = getattr(node, 'value', None)
    assert isinstance(call, ast.Call), f'{build}:{node.lineno}'
    values = {
        k.arg: ast.literal_eval(k.value)
        for k in call.keywords
        if k.arg in ('name', 'srcs', 'deps', 'by_name')
    }
    if 'name' not in values:
      continue
    labels = {
        key: tuple(absolute(l, package) for l in values.get(key, ()))
        for key in ('deps', 'by_name')
    }
    yield Target(
        f'//{package}:{values["name"]}',
        call.func.id,
        tuple(f'{package}/{name}' for name in values.get('srcs', ())),
        implicit=tuple(
            re.findall(
                r'# Implicit (\S+) dependency\.',
                ast.get_source_segment(text, node),
            )
        ),
        **labels,
    )


@functools.cache
def targets() -> tuple[Target, ...]:
  """Returns all targets of the checkout."""
  builds = [ROOT / 'BUILD']
  builds += [p.parent / 'BUILD' for p in sources() if p.name != 'BUILD']
  unique = sorted({b for b in builds if b.exists()})
  return tuple(target for build in unique for target in read(build))


@functools.cache
def sources() -> tuple[pathlib.Path, ...]:
  """Returns all Python files, by the paths that Bazel gives them."""
  found = []
  for top in TOPS:
    # A folder may be a link, which globbing does not follow.
    for folder in (ROOT / top, *sorted((ROOT / top).rglob('*'))):
      if folder.is_dir() and folder.name != '__pycache__':
        found += sorted(folder.glob('*.py'))
  return tuple(dict.fromkeys(found))


def label_of(path: pathlib.Path) -> str:
  """Returns the label that a Python file must have."""
  folder = path.parent.relative_to(ROOT).as_posix()
  special = {'__init__': path.parent.name, '__main__': 'softmoe'}
  name = special.get(path.stem, path.stem)
  return f'//{folder}:{name}'


@functools.cache
def modules() -> dict[str, str]:
  """Returns the labels of all modules by the names to import them by."""
  names = {}
  for path in sources():
    parts = path.relative_to(ROOT).with_suffix('').parts
    if parts[0] == 'pax_softmoe':
      names['.'.join(p for p in parts if p != '__init__')] = label_of(path)
    elif path.parent in (ROOT / 'tests', ROOT / 'docs'):
      names[path.stem] = label_of(path)
  return names


def imports(path: pathlib.Path) -> set[str]:
  """Returns all that a file imports, of functions inside it too: 'a.b.c'."""
  names = set()
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      names.update(alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      names.update(f'{node.module}.{alias.name}' for alias in node.names)
  return names


def needed(path: pathlib.Path) -> tuple[set[str], set[str]]:
  """Returns the labels and the packages from PyPI that a file imports."""
  known = dict(modules())
  if path.is_relative_to(ROOT / 'tests'):
    known |= {p.stem: label_of(p) for p in path.parent.glob('*.py')}
  labels, packages = set(), set()
  if path.name.startswith('test_') and 'conftest' in known:
    labels.add(known['conftest'])  # Pytest imports it.
  for name in imports(path):
    while '.' in name and name not in known:
      name = name.rpartition('.')[0]
    if name in known:
      labels.add(known[name])
    elif name not in sys.stdlib_module_names:
      packages.add(name)
  return labels - {label_of(path)}, packages


def block(key: str, labels: set[str], packages: set[str]) -> str:
  """Returns the lines of a list in a BUILD file."""
  lines = [f'"{label}",' for label in sorted(labels)]
  lines += [f'# Implicit {name} dependency.' for name in sorted(packages)]
  return f'{key} = [\n' + ''.join(f'    {l}\n' for l in lines) + '],'


@pytest.mark.parametrize(
    'path', sources(), ids=lambda p: str(p.relative_to(ROOT))
)
def test_the_target_of_a_file_depends_on_what_it_imports(path):
  name = path.relative_to(ROOT).as_posix()
  labels, packages = needed(path)
  found = [t for t in targets() if t.rule in RULES and name in t.srcs]
  if not found:
    deps = block('deps', labels, packages)
    raise AssertionError(
        f'{path.parent.relative_to(ROOT)}/BUILD needs a target\n'
        f'name = "{label_of(path).rpartition(":")[2]}",\n'
        f'srcs = ["{path.name}"],\n{deps}'
    )
  (target,) = found
  assert target.srcs == (name,)
  assert target.label == label_of(path)
  assert (target.rule == 'softmoe_test') == path.name.startswith('test_')
  expected = block('deps', labels - set(target.by_name), packages)
  got = block('deps', set(target.deps), set(target.implicit))
  assert got == expected, f'{target.label} needs\n{expected}'


def test_every_dependency_is_a_target():
  labels = {target.label for target in targets()}
  assert len(labels) == len(targets()), 'a name is given twice'
  for target in targets():
    missing = {*target.deps, *target.by_name} - labels
    assert not missing, f'{target.label} needs {missing}, which do not exist'


def test_no_target_depends_on_itself():
  below = {t.label: {*t.deps, *t.by_name} for t in targets()}
  while below:
    leaves = {label for label, deps in below.items() if not deps & below.keys()}
    assert leaves, f'a circle of imports is among {sorted(below)}'
    below = {l: d for l, d in below.items() if l not in leaves}


def test_modules_that_are_named_at_run_time_are_dependencies():
  """Modules that `tools` name in strings, such as 'pax_softmoe.a.b:function'."""
  by_label = {target.label: target for target in targets()}
  for path in sources():
    if path.is_relative_to(ROOT / 'tests'):
      continue
    target = by_label[label_of(path)]
    for node in ast.walk(ast.parse(path.read_text())):
      text = node.value if isinstance(node, ast.Constant) else None
      name = str(text).partition(':')[0]
      if isinstance(text, str) and name in modules() and '.' in name:
        got = {target.label, *target.deps, *target.by_name}
        assert modules()[name] in got, f'{target.label} names {name}'


def test_tests_that_run_commands_depend_on_all_of_them():
  """`softmoe` imports a command by its name."""
  main, commands = '//pax_softmoe/tools:main', '//pax_softmoe/tools:softmoe'
  for target in targets():
    if target.rule == 'softmoe_test' and main in target.deps:
      assert commands in target.by_name, f'{target.label} runs commands'
