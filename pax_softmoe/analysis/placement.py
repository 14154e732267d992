"""Where the arrays of an experiment live on its mesh, by arithmetic."""

import dataclasses
import math
from typing import Any

import jax
from pax_softmoe import sharding
from pax_softmoe.analysis import model_size
from praxis import py_utils


@dataclasses.dataclass(frozen=True)
class Array:
  """One array and its place.

  Attributes:
    name: as in checkpoints.
    shape: of the whole array.
    split: per dimension None, a mesh axis, or a tuple of them.
    itemsize: bytes of one number.
    mesh: sizes of the mesh axes.
  """

  name: str
  shape: tuple[int, ...]
  split: tuple[Any, ...]
  itemsize: int
  mesh: tuple[int, ...]

  @property
  def bytes_per_device(self) -> int:
    """Bytes on each device, padded up where a split does not divide."""
    parts = (sharding.axis_size(self.mesh, axes) for axes in self.split)
    sizes = (-(-size // part) for size, part in zip(self.shape, parts))
    return math.prod(sizes) * self.itemsize

  def split_text(self) -> str:
    """Returns the split for people; '-' for an unsplit dimension."""
    if not any(self.split):
      return 'replicated'
    return ', '.join(
        '-' if not axes else axes if isinstance(axes, str) else '+'.join(axes)
        for axes in self.split
    )

  def as_dict(self) -> dict[str, Any]:
    """Returns all of it for JSON."""
    return {
        **dataclasses.asdict(self),
        'bytes_per_device': self.bytes_per_device,
    }


def weights(experiment: Any) -> list[Array]:
  """Returns all weights of an experiment's model and where they live.

  Args:
    experiment: an `ImageClassification`.
  """
  tree = model_size.abstract_weights(experiment, experiment.task().model)
  names = py_utils.extract_prefixed_keys_from_nested_map(tree)
  mesh = experiment.mesh_shape()
  arrays = []
  for name, w in zip(
      jax.tree_util.tree_leaves(names), jax.tree_util.tree_leaves(tree)
  ):
    split = tuple(
        None if axes in (None, -1) else axes
        for axes in w.full_split_dims_mapping or ()
    )
    arrays.append(
        Array(name, tuple(w.full_shape), split, w.dtype.dtype.itemsize, mesh)
    )
  return arrays
