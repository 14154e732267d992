"""What settings take, and what they were given, in words."""

import collections.abc
from collections.abc import Iterable
import dataclasses
import reprlib
import types
import typing
from typing import Any

import annotated_types
import pydantic


@dataclasses.dataclass(frozen=True)
class Words:
  """Says what a type takes, where its parts do not say it well."""

  text: str


class _Checked:
  """Has pydantic call `_check` with what the type before it takes."""

  def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
    validator = pydantic.AfterValidator(self._check)
    return validator.__get_pydantic_core_schema__(source, handler)

  def _check(self, value: Any) -> Any:
    raise NotImplementedError


@dataclasses.dataclass(frozen=True, eq=False)
class OneOf(_Checked):
  """After a type in an annotation: only those values that are in `choices`."""

  choices: Iterable[Any]

  def _check(self, value: Any) -> Any:
    if value not in self.choices:
      raise ValueError(f'no {value!r}; use one of the choices')
    return value


@dataclasses.dataclass(frozen=True)
class Distinct(_Checked):
  """After a sequence in an annotation: no value may be in it twice."""

  def _check(self, value: Any) -> Any:
    if len(set(value)) < len(value):
      raise ValueError('name each once')
    return value


_NOUNS = {
    int: ('a whole number', 'whole numbers'),
    float: ('a number', 'numbers'),
    str: ('a text', 'texts'),
    bool: ('True or False', 'True or False'),
    type(None): ('None', 'None'),
    Any: ('anything', 'anything'),
}


def words(annotation: Any, many: bool = False) -> str:
  """Returns what values an annotation takes, in words.

  Args:
    annotation: a type, with or without constraints.
    many: whether to speak of several such values.
  """
  metadata = getattr(annotation, '__metadata__', ())
  if metadata:
    annotation = annotation.__origin__
  for constraint in metadata:
    if isinstance(constraint, Words):
      return constraint.text
    if isinstance(constraint, OneOf):
      return f'one of {", ".join(map(str, constraint.choices))}'
  origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
  if annotation in _NOUNS:
    text = _NOUNS[annotation][many]
  elif origin is typing.Literal:
    text = f'one of {", ".join(map(str, parts))}'
  elif origin in (typing.Union, types.UnionType):
    text = ' or '.join(words(p, many) for p in parts if p is not type(None))
    text += ', or None' if type(None) in parts else ''
  elif origin is collections.abc.Mapping:
    key, value = (words(part, many=True) for part in parts)
    text = f'a mapping from {key} to {value}'
  elif origin in (collections.abc.Sequence, list, tuple):
    text = f'a list of {words(parts[0], many=True)}'
  else:
    text = getattr(annotation, '__name__', str(annotation))
  return text + ''.join(map(_bounds, metadata))


def _bounds(constraint: Any) -> str:
  """Returns what a constraint asks for, to stand behind a noun."""
  match constraint:
    case annotated_types.Ge(least):
      return f' of {least:g} or more'
    case annotated_types.Gt(bound):
      return f' above {bound:g}'
    case annotated_types.Lt(bound):
      return f' and below {bound:g}'
    case annotated_types.Len(1, None):
      return ', at least one'
    case Distinct():
      return ', each once'
  # That it is at most so much is said of values that are larger.
  return ''


def shown(value: Any) -> str:
  """Returns a value and its type on one short line."""
  try:
    text = _SHORT.repr(value)
  # Its class may be anybody's, and Python does not print all numbers.
  except Exception:  # pylint: disable=broad-exception-caught
    text = 'a value'
  if value is None:
    return line(text)
  kind = type(value)
  # NumPy has a `bool` of its own.
  library = kind.__module__.partition('.')[0]
  prefix = f'{library}.' if library == 'numpy' else ''
  return f'{line(text)} ({prefix}{kind.__name__})'


def line(text: str) -> str:
  """Returns a text in one line."""
  return ' '.join(text.split())


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60
