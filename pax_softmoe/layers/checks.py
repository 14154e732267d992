"""Checks of what layers are given: fields, and arrays.

All of them raise a ValueError of one line that names the layer, what it got,
and what it needs.
"""

from collections.abc import Callable
from collections.abc import Iterable
import dataclasses
import numbers
from typing import Any

import jax
from jax import numpy as jnp
from praxis import base_layer
from praxis import pax_fiddle

# JAX counts in 32 bits, and squares of numbers are to be finite in float32.
_LARGEST = 2**31 - 1
_MOST = 1e18

DTYPES = ('bfloat16', 'float16', 'float32', 'float64')


def common(layer: Any) -> None:
  """Checks the fields that all layers have: dtypes, and templates of others."""
  dtype(layer, 'dtype', 'fprop_dtype')
  names = (field.name for field in dataclasses.fields(layer))
  _require(
      layer,
      [name for name in names if name.endswith('_tpl')],
      _is_template,
      'set it to a template, pax_fiddle.Config of a layer',
  )


def whole(layer: Any, *names: str, least: int = 1) -> None:
  """Checks that fields are whole numbers, and not too small."""
  _require(
      layer,
      names,
      lambda x: _is(x, numbers.Integral) and least <= x <= _LARGEST,
      f'set it to {least} or more, a whole number',
  )


def number(layer: Any, *names: str, zero: bool = True) -> None:
  """Checks that fields are finite numbers above 0, or 0 if that may be."""
  _require(
      layer,
      names,
      lambda x: _is_finite(x) and (x >= 0 if zero else x > 0),
      f'set it {"to 0 or more" if zero else "above 0"}, a finite number',
  )


def probability(layer: Any, *names: str) -> None:
  """Checks that fields are probabilities of dropping, so less than 1."""
  _require(
      layer,
      names,
      lambda x: _is_finite(x) and 0 <= x < 1,
      'set it to 0 or more and less than 1',
  )


def flag(layer: Any, *names: str) -> None:
  """Checks that fields are True or False."""
  _require(
      layer, names, lambda x: isinstance(x, bool), 'set it to True or False'
  )


def choice(layer: Any, name: str, choices: Iterable[str]) -> None:
  """Checks that a field is one of some words."""
  choices = tuple(choices)
  _require(
      layer,
      [name],
      lambda x: isinstance(x, str) and x in choices,
      f'use one of {", ".join(choices)}',
  )


def dtype(layer: Any, *names: str) -> None:
  """Checks that fields are dtypes that one can compute in."""
  _require(
      layer,
      names,
      lambda x: _dtype_name(x) in DTYPES,
      f'use one of {", ".join(DTYPES)}',
      lambda x: repr(x) if isinstance(x, str) else _dtype_name(x) or repr(x),
  )
  # JAX would compute in float32 and say nothing.
  _require(
      layer,
      names,
      lambda x: jax.dtypes.canonicalize_dtype(x) == jnp.dtype(x),
      'JAX has it only after jax.config.update("jax_enable_x64", True)',
      _dtype_name,
  )


def array(
    layer: Any,
    name: str,
    x: Any,
    letters: str,
    *,
    any_dtype: bool = False,
    **sizes: int,
) -> None:
  """Checks the shape and the dtype of an array.

  Args:
    layer: whose it is.
    name: of the argument.
    x: the array.
    letters: one for each axis, none of which may be empty.
    any_dtype: whether it may be of another dtype than a floating one.
    **sizes: of those axes that have a given one, by their letter.
  """
  fits = x.ndim == len(letters) and not any(size == 0 for size in x.shape)
  if fits:
    axes = dict(zip(letters, x.shape))
    fits = all(axes[letter] == size for letter, size in sizes.items())
  if fits and (any_dtype or jnp.issubdtype(x.dtype, jnp.floating)):
    return
  wanted = ', '.join(str(sizes.get(letter, letter)) for letter in letters)
  free = [letter for letter in letters if letter not in sizes]
  raise ValueError(
      f'{type(layer).__name__}: {name} are {_dtype_name(x.dtype)}'
      f' {list(x.shape)}; they must be {"" if any_dtype else "floating "}'
      f'[{wanted}] with {" and ".join(free)} 1 or more'
  )


def _require(
    layer: Any,
    names: Iterable[str],
    fits: Callable[[Any], bool],
    advice: str,
    show: Callable[[Any], str] = repr,
) -> None:
  for name in names:
    value = getattr(layer, name)
    if not fits(value):
      raise ValueError(
          f'{type(layer).__name__}: {name} is {show(value)}; {advice}'
      )


def _is_template(x: Any) -> bool:
  if not isinstance(x, pax_fiddle.Config):
    return False
  return isinstance(x.cls, type) and issubclass(x.cls, base_layer.BaseLayer)


def _is(x: Any, kind: type) -> bool:
  return isinstance(x, kind) and not isinstance(x, bool)


def _is_finite(x: Any) -> bool:
  return _is(x, numbers.Real) and abs(x) <= _MOST


def _dtype_name(x: Any) -> str:
  """Returns the name of a dtype, '' if it is none."""
  try:
    return '' if x is None else jnp.dtype(x).name
  except TypeError:
    return ''
