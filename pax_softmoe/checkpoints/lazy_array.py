"""Arrays that are read part by part, from wherever they lie."""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
from typing import Any

import jax
import numpy as np
from pax_softmoe.layers import block_names
from praxis import py_utils

NestedMap = py_utils.NestedMap
Index = tuple[slice, ...]


@dataclasses.dataclass(frozen=True)
class LazyArray:
  """An array whose numbers are still elsewhere.

  Attributes:
    name: what it is called there, for messages.
    shape: of the whole.
    read: reads the part that slices, one for each dimension, cut out.
  """

  name: str
  shape: tuple[int, ...]
  read: Callable[[Index], np.ndarray]

  def whole(self) -> np.ndarray:
    """Reads all of it."""
    return self.read((slice(None),) * len(self.shape))

  def layer(self, i: int) -> 'LazyArray':
    """Returns the i-th of what is stacked along the first axis."""
    return LazyArray(
        self.name,
        self.shape[1:],
        lambda index: np.asarray(self.read((slice(i, i + 1), *index))[0]),
    )


def stack(arrays: Sequence[LazyArray]) -> LazyArray:
  """Returns arrays of one shape as layers of one array."""

  def read(index):
    layers = range(*index[0].indices(len(arrays)))
    return np.stack([arrays[i].read(index[1:]) for i in layers])

  first = arrays[0]
  return LazyArray(first.name, (len(arrays), *first.shape), read)


def by_name(tree: Any) -> dict[str, Any]:
  """Returns the leaves of a tree of mappings by names like 'vit/norm/bias'."""
  names = py_utils.extract_prefixed_keys_from_nested_map(tree)
  return dict(
      zip(jax.tree_util.tree_leaves(names), jax.tree_util.tree_leaves(tree))
  )


def split_stacks(weights: NestedMap) -> dict[str, LazyArray]:
  """Returns the arrays of a checkpoint, those of stacks layer by layer.

  Args:
    weights: a tree of `LazyArray`s, as from `reading.open_weights`.
  """
  result = {}
  for name, array in by_name(weights).items():
    whole = dataclasses.replace(array, name=name)
    singles = block_names.singles(name, whole.shape)
    if singles == [name]:
      result[name] = whole
      continue
    for i, single in enumerate(singles):
      result[single] = dataclasses.replace(whole.layer(i), name=single)
  return result
