"""What differs between Pax' own pins and newer versions of what it uses."""

from collections.abc import Sequence
import functools
import importlib.metadata
from typing import Any

import ml_dtypes
import numpy as np


def restore_numpy_names() -> None:
  """Gives NumPy 2 back a name that paxml's evaluation loop reads."""
  if not hasattr(np, 'unicode_'):
    np.unicode_ = np.str_  # pyright: ignore[reportAttributeAccessIssue]


def is_prepared(builder: Any) -> bool:
  """Returns whether the files of a `tfds.core.DatasetBuilder` are there.

  The method for it came after TensorFlow Datasets 4.8.
  """
  if hasattr(builder, 'is_prepared'):
    return builder.is_prepared()
  return builder.data_path.exists()


def version(package: str) -> tuple[int, int]:
  """Returns the first two numbers of an installed package's version."""
  first, second = importlib.metadata.version(package).split('.')[:2]
  return int(first), int(second)


def saved_model_options(platforms: Sequence[str]) -> dict[str, Any]:
  """Returns how `jax2tf.convert` writes a program, as keyword arguments.

  As StableHLO for the platforms, unless TensorFlow is too old to read what this
  version of JAX writes; then as TensorFlow's own operations, for any platform.
  """
  if version('tensorflow') < (2, 15):
    return {'native_serialization': False}
  return {'native_serialization_platforms': platforms}


def dtype(given: Any) -> Any:
  """Returns what is given, a dtype or None, or the dtype of that name.

  TensorFlow 2.9 takes NumPy's name bfloat16 for a type of its own, which JAX
  does not know.
  """
  if not isinstance(given, str):
    return given
  return np.dtype(getattr(ml_dtypes, given, given))


def complete_reads(spec: dict[str, Any]) -> dict[str, Any]:
  """Returns the spec of an array by which a missing part of it is an error.

  TensorStore otherwise reads zeros; older versions cannot be told.

  Args:
    spec: of a zarr array.
  """
  return {**spec, **_missing_is_error()}


@functools.cache
def _missing_is_error() -> dict[str, Any]:
  import tensorstore  # Most that this module serves needs no arrays.

  option = {'fill_missing_data_reads': False}
  try:
    tensorstore.Spec({'driver': 'zarr', 'kvstore': 'memory://', **option})
  except ValueError:
    return {}
  return option
