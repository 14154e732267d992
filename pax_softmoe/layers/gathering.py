"""Weights that are split over chips, made whole where they are used."""

from collections.abc import Sequence
import math

from jax import numpy as jnp
from praxis import base_layer
from praxis import pytypes

JTensor = pytypes.JTensor
SplitDimsMapping = pytypes.SplitDimsMapping


def gather(
    weights: JTensor,
    split: SplitDimsMapping,
    dim: int,
    mesh_shape: Sequence[int] | None,
    mesh_axis_names: Sequence[str] | None,
) -> JTensor:
  """Returns weights that each chip has the whole of one dimension of.

  XLA for TPU gathers arrays with the gathered dimension outermost in memory.
  The products of attention are slower by half with weights that lie so, and XLA
  lets them. Here the parts of the dimension have one of their own until they
  are there, and to join them takes a copy, in which that dimension comes last.

  It is left to XLA where a dimension other than the first of the rest is split too.

  Args:
    weights: of any shape.
    split: mesh axes of each of its dimensions, as its variable has them; None
      if nothing is split.
    dim: the dimension to make whole.
    mesh_shape: sizes of the mesh axes, or None without a mesh.
    mesh_axis_names: their names.

  Returns:
    The same array, split as before but for that dimension.
  """
  if mesh_shape is None or split is None or not split[dim]:
    return weights
  others = [s for i, s in enumerate(split) if i != dim]
  axes = (split[dim],) if isinstance(split[dim], str) else split[dim]
  sizes = dict(zip(mesh_axis_names or (), mesh_shape))
  parts = math.prod(sizes[axis] for axis in axes)
  if parts == 1 or weights.shape[dim] % parts or any(others[1:]):
    return weights
  moved = jnp.moveaxis(weights, dim, -1)
  x = moved.reshape(-1, parts, weights.shape[dim] // parts)
  x = base_layer.maybe_shard(x, [others[0], axes, None], mesh_axis_names)
  x = base_layer.maybe_shard(x, [others[0], None, None], mesh_axis_names)
  return jnp.moveaxis(x.reshape(moved.shape), -1, dim)
