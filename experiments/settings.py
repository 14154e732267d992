"""Declarations of settings, and the check of values against them.

A setting is a class attribute in capitals, and its annotation declares it:

    NUM_EXPERTS: Annotated[Count, Kept, 'Experts of each MoE layer.'] = 128

First comes what it takes: a type of this module, or any that pydantic knows,
such as `int | None`. `Kept` marks what a checkpoint depends on; the text is its
meaning. Nothing is converted: '4' is no number, 4.0 and True are no whole
numbers, NaN and infinity are no numbers at all. A whole number may stand for
one with a fraction, and a list for a tuple.
"""

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import difflib
import functools
import sys
import types
import typing
from typing import Annotated
from typing import Any

import annotated_types
import numpy as np
from pax_softmoe.experiments import wording
import pydantic

Distinct = wording.Distinct
Ge = annotated_types.Ge
Gt = annotated_types.Gt
Le = annotated_types.Le
Len = annotated_types.Len
Lt = annotated_types.Lt
OneOf = wording.OneOf
Words = wording.Words


class Kept:
  """Marks a setting that a checkpoint depends on.

  It decides which arrays a checkpoint holds, or what the model computes with
  them: a job goes on only with the value that it began with.
  """


def _dtype(value: Any) -> str:
  """Returns the name of a dtype that models can compute and store in."""
  name = value if isinstance(value, str) else None
  # NumPy would make a dtype of None and numbers too.
  if isinstance(value, (type, np.dtype)):
    try:
      name = np.dtype(value).name
    except TypeError:
      name = None
  if name not in ('float32', 'bfloat16'):
    raise ValueError(f'no {value!r}; use float32 or bfloat16')
  return name


def _below_one_in_float32(value: float) -> float:
  if np.float32(value) == 1:
    raise ValueError('rounded to 1; use less')
  return value


# What settings take. Whole numbers end where JAX counts in 32 bits, which is
# where it takes numbers with a fraction too, if they are given as whole ones.
_LARGEST = 2**31 - 1
Count = Annotated[int, Ge(1), Le(_LARGEST)]
Whole = Annotated[int, Ge(0), Le(_LARGEST)]
Positive = Annotated[float, Gt(0), Le(_LARGEST)]
NonNegative = Annotated[float, Ge(0), Le(_LARGEST)]
# 1 is not among them, nor what float32 takes for it: an average that never
# moves.
Decay = Annotated[
    float, Ge(0), Lt(1), pydantic.AfterValidator(_below_one_in_float32)
]
# Dimensions of arrays, and pixels along an edge: so far that an array of
# several of them can still be counted in 64 bits.
Size = Annotated[int, Ge(1), Le(2**20)]
Pixels = Annotated[int, Ge(1), Le(2**14)]
# The keys of random numbers have 32 bits; larger seeds would be cut.
Seed = Annotated[int, Ge(0), Le(2**32 - 1)]
Dtype = Annotated[
    Any, pydantic.BeforeValidator(_dtype), Words('float32 or bfloat16')
]
Mesh = Annotated[
    Sequence[Count],
    Len(4, 4),
    Words('a size of 1 or more for each of replica, data, expert, mdl'),
]

# Of a setting that is a sequence.
_LONGEST = 2**16

_STRICT = pydantic.ConfigDict(
    strict=True, allow_inf_nan=False, arbitrary_types_allowed=True
)


@dataclasses.dataclass(frozen=True, eq=False)
class Declaration:
  """One setting as a class declares it.

  Attributes:
    name: in capitals.
    owner: the class.
    takes: what values it takes, in words.
    meaning: a text; empty if the declaration has none.
    kept: whether a checkpoint depends on it.
    adapter: checks values.
  """

  name: str
  owner: type
  takes: str
  meaning: str
  kept: bool
  adapter: pydantic.TypeAdapter

  @property
  def default(self) -> Any:
    """The value in the class that declares it; None without one."""
    return vars(self.owner).get(self.name)

  def problem(self, value: Any) -> str | None:
    """Returns what is wrong with a value; None if nothing is."""
    most = ''
    # To pydantic, a range is no sequence. A long one is not written out.
    if isinstance(value, range) and not value[_LONGEST:]:
      value = tuple(value)
    if not _has_other_numbers(value):
      try:
        self.adapter.validate_python(value)
        return None
      except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        if first['type'] == 'less_than_equal':
          most = f', at most {first.get("ctx", {})["le"]:,.10g}'
    return f'{self.name} is {wording.shown(value)}; it takes {self.takes}{most}'


def _has_other_numbers(value: Any) -> bool:
  """Returns whether there are numbers that are not Python's int and float.

  Pydantic takes whatever can become a float: fractions, arrays.
  """
  if isinstance(value, Mapping):
    value = tuple(value.values())
  if isinstance(value, (list, tuple)):
    return any(map(_has_other_numbers, value))
  return not isinstance(value, (int, float, type)) and hasattr(
      value, '__float__'
  )


def declared(cls: type) -> dict[str, Declaration]:
  """Returns all settings of an experiment, those of the class itself first.

  Args:
    cls: an experiment; where two of its bases declare a setting, that of the
      first counts.

  Raises:
    ValueError: a declaration cannot be understood.
  """
  found = {}
  for base in cls.__mro__:
    if vars(base).get('__annotations__'):
      for name, declaration in _own(base).items():
        found.setdefault(name, declaration)
  return found


def check(experiment: Any, names: Iterable[str] | None = None) -> None:
  """Checks values of settings against their declarations.

  Args:
    experiment: a class, or an instance of one.
    names: of settings; None for all, and for whatever else is in capitals.

  Raises:
    ValueError: a value is none that the setting takes, or nothing declares the
      setting; one line, which names both.
  """
  cls = experiment if isinstance(experiment, type) else type(experiment)
  known = declared(cls)
  if names is None:
    check_names(cls, _capitals(cls))
    _check_methods(cls)
  for name in known if names is None else names:
    if not hasattr(experiment, name):
      raise ValueError(
          f'{cls.__name__}: {name} has no value; it takes {known[name].takes}'
      )
    value = getattr(experiment, name)
    # What a class computes has a value in its instances only.
    if isinstance(value, (property, functools.cached_property)):
      continue
    if problem := known[name].problem(value):
      raise ValueError(f'{cls.__name__}: {problem}')


def check_names(cls: type, names: Iterable[str]) -> None:
  """Raises ValueError if one of the names is no setting of an experiment."""
  known = declared(cls)
  for name in names:
    if name not in known:
      near = difflib.get_close_matches(name.upper(), known, 1)
      raise ValueError(
          f'{cls.__name__}: there is no setting {name}; the settings are'
          f' {", ".join(sorted(known))}'
          + ''.join(f'; did you mean {n}?' for n in near)
      )


def _check_methods(cls: type) -> None:
  """Raises ValueError if a value stands in the place of a method."""
  kinds = (types.FunctionType, classmethod, staticmethod, property)
  for i, base in enumerate(cls.__mro__):
    for name, value in vars(base).items():
      if name.startswith('__') or callable(value) or isinstance(value, kinds):
        continue
      below = (vars(b)[name] for b in cls.__mro__[i + 1 :] if name in vars(b))
      if isinstance(next(below, None), kinds[:3]):
        raise ValueError(
            f'{cls.__name__}: {name} is {wording.shown(value)}, in the place of'
            ' a method; settings are in capitals'
        )


def changed_model(
    cls: type, old: Mapping[str, Any], new: Mapping[str, Any]
) -> list[tuple[str, Any, Any]]:
  """Returns in which settings two jobs of an experiment have another model.

  Only settings that are `Kept` count. What SLICE stands for counts too.

  Args:
    cls: the experiment.
    old: settings that one job was started with, as its record has them; what
      is no setting any more is left out.
    new: those of the other.

  Returns:
    (name, value in the old job, value in the new one), by name.
  """
  known = declared(cls)
  jobs = []
  for settings in (old, new):
    given = {name: v for name, v in settings.items() if name in known}
    # Not checked: a job that ran may have settings that are refused today.
    jobs.append(type(cls.__name__, (cls,), given))
  pairs = {
      name: tuple(getattr(job, name, None) for job in jobs)
      for name, declaration in sorted(known.items())
      if declaration.kept
  }
  return [
      (name, before, after)
      for name, (before, after) in pairs.items()
      if plain(before) != plain(after)
  ]


def plain(value: Any) -> Any:
  """Returns a value as JSON would give it back: lists, names of dtypes."""
  if isinstance(value, Mapping):
    return {str(k): plain(v) for k, v in value.items()}
  if isinstance(value, Sequence) and not isinstance(value, str):
    return [plain(v) for v in value]
  try:
    return _dtype(value)
  except (TypeError, ValueError):
    return value


def _capitals(cls: type) -> list[str]:
  """Returns the public names in capitals that a class or its bases set."""
  return [
      name
      for base in cls.__mro__
      for name in vars(base)
      if name.isupper() and not name.startswith('_')
  ]


@functools.cache
def _own(cls: type) -> dict[str, Declaration]:
  """Returns the settings that a class itself declares."""
  found = {}
  for name, annotation in vars(cls)['__annotations__'].items():
    if not name.isupper() or name.startswith('_'):
      continue
    try:
      if isinstance(annotation, str):
        module = sys.modules.get(cls.__module__, typing)
        annotation = eval(annotation, {**vars(module)}, {**vars(cls)})
      if typing.get_origin(annotation) in (typing.ClassVar, typing.Final):
        (annotation,) = typing.get_args(annotation)
      if annotation is np.dtype:
        annotation = Dtype
      adapter = pydantic.TypeAdapter(annotation, config=_STRICT)
    except (NameError, TypeError, ValueError, pydantic.PydanticUserError) as e:
      raise ValueError(
          f'{cls.__name__}: the declaration of {name} cannot be understood'
          f' ({wording.line(str(e))}); use a type such as int, or one of'
          ' pax_softmoe.experiments.settings'
      ) from e
    metadata = getattr(annotation, '__metadata__', ())
    texts = [m for m in metadata if isinstance(m, str)]
    found[name] = Declaration(
        name=name,
        owner=cls,
        takes=wording.words(annotation),
        meaning=texts[-1] if texts else '',
        kept=Kept in metadata,
        adapter=adapter,
    )
  return found
