"""Numbers that are not finite, NaN and infinities, as errors that say where.

argmax takes NaN for the largest number there is, so that what comes out of a
broken model looks like a poor one: nothing is to be counted or shown before it
is looked at here.
"""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np

_SHOWN = 5


def bad_rows(*arrays: np.ndarray) -> np.ndarray:
  """Returns the indices of rows that are not finite in all arrays.

  Args:
    *arrays: [n, ...], n the same in all.
  """
  is_fine = np.ones(len(arrays[0]), bool)
  for x in arrays:
    is_fine &= np.isfinite(x).reshape(len(x), -1).all(1)
  return np.flatnonzero(~is_fine)


def bad_arrays(arrays: Mapping[str, Any]) -> list[str]:
  """Returns the names of arrays that are not finite."""
  return [k for k, x in arrays.items() if not np.isfinite(x).all()]


def require_none(
    bad: Sequence[Any], total: int, what: str, advice: str
) -> None:
  """Raises an error if there is something that is not finite.

  Args:
    bad: names or indices of what is not.
    total: how many were looked at.
    what: what those are, as 'images have features'.
    advice: what to do.

  Raises:
    ValueError: `bad` is not empty.
  """
  if not len(bad):
    return
  names = ', '.join(str(x) for x in bad[:_SHOWN])
  if len(bad) > _SHOWN:
    names += f' and {len(bad) - _SHOWN:,} more'
  raise ValueError(
      f'{len(bad):,} of {total:,} {what} that are not finite (NaN or infinity):'
      f' {names}; {advice}'
  )
