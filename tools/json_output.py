"""What commands print for programs: one JSON document, and nothing else."""

from collections.abc import Iterator
import json
import math
from typing import Any


def show(result: Any) -> None:
  """Prints a result as JSON, which has no NaN and no infinity.

  Args:
    result: of dicts, lists, numbers, strings.

  Raises:
    ValueError: a number is not finite; the message says which.
  """
  for where, value in _not_finite(result, ''):
    raise ValueError(
        f'the result has {value} as {where}, which no JSON can hold; leave out'
        ' --json to see it'
    )
  print(json.dumps(result, allow_nan=False))


def _not_finite(value: Any, where: str) -> Iterator[tuple[str, float]]:
  """Gives places like 'points[0].mfu', and what is there."""
  if isinstance(value, dict):
    for name, inner in value.items():
      yield from _not_finite(inner, f'{where}.{name}'.lstrip('.'))
  elif isinstance(value, (list, tuple)):
    for i, inner in enumerate(value):
      yield from _not_finite(inner, f'{where}[{i}]')
  elif isinstance(value, float) and not math.isfinite(value):
    yield where or 'itself', value
