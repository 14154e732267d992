"""Finds every error that the package raises with a message of its own."""

import ast
from collections.abc import Iterator
import dataclasses
import pathlib
import re

ROOT = pathlib.Path(__file__).parents[2]
FOLDERS = ('pax_softmoe', 'experiments', 'tools')


@dataclasses.dataclass(frozen=True)
class Error:
  """One `raise` with a message.

  Attributes:
    module: it is in, as 'pax_softmoe/routing.py'.
    function: it is in, as 'SoftMoE.setup'.
    kind: name of the exception.
    message: its text, with … for every value.
    raises: what the docstring of the function says of its errors; may be ''.
  """

  module: str
  function: str
  kind: str
  message: str
  raises: str

  def pattern(self) -> re.Pattern[str]:
    """Returns what all texts of this message match."""
    return re.compile('.*'.join(map(re.escape, self.message.split('…'))))


def find() -> list[Error]:
  """Returns all errors, in the order of modules and lines."""
  found = []
  for folder in FOLDERS:
    for path in sorted((ROOT / folder).rglob('*.py')):
      # Links to the other folders are read there.
      name = path.relative_to(ROOT)
      if not any((ROOT / p).is_symlink() for p in name.parents[:-1]):
        tree = ast.parse(path.read_text())
        _Named(tree).visit(tree)
        found += _errors(tree, str(name), '', '')
  return found


class _Named(ast.NodeTransformer):
  """Puts texts in the place of constants."""

  def __init__(self, tree: ast.AST):
    self._texts = {
        node.targets[0].id: node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id.isupper()
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    }

  def visit_FormattedValue(self, node: ast.FormattedValue) -> ast.expr:
    if isinstance(node.value, ast.Name):
      return self._texts.get(node.value.id, node)
    return node


def _errors(
    node: ast.AST, module: str, function: str, raises: str
) -> Iterator[Error]:
  """Yields the errors below a node of a module's syntax tree."""
  for child in ast.iter_child_nodes(node):
    if isinstance(child, (ast.FunctionDef, ast.ClassDef)):
      name = f'{function}.{child.name}'.lstrip('.')
      own = _raises(ast.get_docstring(child) or '')
      yield from _errors(child, module, name, own or raises)
      continue
    if isinstance(child, ast.Raise) and isinstance(child.exc, ast.Call):
      kind = ast.unparse(child.exc.func).split('.')[-1]
      if child.exc.args and (message := _text(child.exc.args[0])):
        yield Error(module, function, kind, message, raises)
    yield from _errors(child, module, function, raises)


def _text(node: ast.expr) -> str:
  """Returns the text of a string, with … for values; '' if it is none."""
  if isinstance(node, ast.Constant) and isinstance(node.value, str):
    return node.value
  if isinstance(node, ast.JoinedStr):
    text = ''.join(_text(v) or '…' for v in node.values)
    return re.sub('…+', '…', text) if text.strip('… ,:;') else ''
  if isinstance(node, ast.BinOp) and (_text(node.left) or _text(node.right)):
    return (_text(node.left) or '…') + (_text(node.right) or '…')
  return ''


def _raises(docstring: str) -> str:
  """Returns what a docstring says of errors, in one line."""
  section = re.search(r'^Raises:\n((?:  .*\n?|\n)+)', docstring, re.MULTILINE)
  sentence = re.search(r'\b(?:Raises|raises) [^.]*\.', docstring, re.DOTALL)
  if section:
    lines = section[1]
  else:
    lines = sentence[0] if sentence else ''
  return ' '.join(lines.split())
