"""What differs between Pax' own pins and newer versions of what it uses."""

from collections.abc import Sequence
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
