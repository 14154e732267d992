"""Products whose weights' gradients are summed up over chips without waiting.

Where chips that share weights see different images, the gradient of the weights
is the sum over them. XLA for TPU makes sums over chips while the chip stands
still, but an all-to-all while it computes. So if each chip is to have a part of
the gradient only, the parts are exchanged by an all-to-all, and added where
they arrive.
"""

from collections.abc import Sequence
import dataclasses
import functools
import math
from typing import Any

import jax
from jax import numpy as jnp
from praxis import base_layer
from praxis import pytypes

JTensor = pytypes.JTensor
Axes = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Place:
  """Where the arrays of a product are on a mesh.

  Attributes:
    inputs: mesh axes of each dimension of the inputs.
    weights: of the weights.
    outputs: of the outputs.
    sizes: of the mesh axes, with their names.
  """

  inputs: tuple[Axes, ...]
  weights: tuple[Axes, ...]
  outputs: tuple[Axes, ...]
  sizes: tuple[tuple[str, int], ...]

  @property
  def names(self) -> tuple[str, ...]:
    return tuple(name for name, _ in self.sizes)

  def batch(self, equation: str) -> Axes:
    """Returns the axes that split the batch of inputs and outputs alike."""
    x, _, y = _letters(equation)
    of_outputs = self.outputs[y.index('b')]
    return tuple(a for a in self.inputs[x.index('b')] if a in of_outputs)

  def parts(self, axes: Axes) -> int:
    """Returns how many parts some axes split an array into."""
    return math.prod(dict(self.sizes)[axis] for axis in axes)


def place(
    inputs: Any,
    weights: Any,
    outputs: Any,
    mesh_shape: Sequence[int] | None,
    mesh_axis_names: Sequence[str] | None,
) -> Place | None:
  """Returns the place of a product; None if it has none on a mesh.

  Args:
    inputs: how Praxis has the inputs split, or None.
    weights: the same of the weights.
    outputs: the same of the outputs.
    mesh_shape: sizes of the mesh axes, or None.
    mesh_axis_names: their names.
  """
  if mesh_shape is None or None in (inputs, weights, outputs):
    return None
  sizes = tuple(zip(mesh_axis_names, map(int, mesh_shape)))
  return Place(_axes(inputs), _axes(weights), _axes(outputs), sizes)


def _axes(split: Sequence[Any]) -> tuple[Axes, ...]:
  return tuple(
      (axes,) if isinstance(axes, str) else tuple(axes or ()) for axes in split
  )


def _letters(equation: str) -> list[str]:
  return equation.replace('->', ',').split(',')


def einsum(
    equation: str, inputs: JTensor, weights: JTensor, at: Place | None
) -> JTensor:
  """Returns `jnp.einsum(equation, inputs, weights)`.

  Args:
    equation: 'inputs,weights->outputs', where both inputs and outputs have the
      batch 'b', which the weights do not have.
    inputs: of the first letters.
    weights: of the second letters.
    at: where they are. If a mesh axis that splits the batch splits the weights
      too, their gradient is summed up as the module says.
  """
  if at is not None:
    batch = at.batch(equation)
    shared = tuple(axis for axis in batch if (axis,) in at.weights)
    images = inputs.shape[equation.index('b')]
    if at.parts(shared) > 1 and images % at.parts(batch) == 0:
      return _einsum(equation, at, inputs, weights)
  return jnp.einsum(equation, inputs, weights)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _einsum(equation, at, inputs, weights):
  del at
  return jnp.einsum(equation, inputs, weights)


def _forward(equation, at, inputs, weights):
  return _einsum(equation, at, inputs, weights), (inputs, weights)


def _backward(equation, at, residuals, gradient):
  inputs, weights = residuals
  x, w, y = _letters(equation)
  batch = at.batch(equation)
  by_inputs = jnp.einsum(f'{y},{w}->{x}', gradient, weights)
  # A sum over each chip's own images, of all chips that share weights.
  in_parts = lambda letters: letters.replace('b', 'sb')
  sums = jnp.einsum(
      f'{in_parts(x)},{in_parts(y)}->s{w}',
      _in_parts(inputs, x.index('b'), at.inputs, batch, at),
      _in_parts(gradient, y.index('b'), at.outputs, batch, at),
  )
  others = _without(at.weights, batch)
  sums = base_layer.maybe_shard(sums, (batch, *others), at.names)
  rest = tuple(axis for axis in batch if (axis,) not in at.weights)
  sums = base_layer.maybe_shard(sums, (rest, *at.weights), at.names)
  by_weights = jnp.sum(sums, 0, dtype=jnp.promote_types(sums.dtype, 'float32'))
  return by_inputs, by_weights.astype(weights.dtype)


_einsum.defvjp(_forward, _backward)


def _in_parts(
    x: JTensor, dim: int, split: tuple[Axes, ...], batch: Axes, at: Place
) -> JTensor:
  """Returns an array with its batch in as many parts as chips have it in."""
  parts = at.parts(batch)
  x = x.reshape(*x.shape[:dim], parts, -1, *x.shape[dim + 1 :])
  rest = tuple(axis for axis in split[dim] if axis not in batch)
  split = (*split[:dim], batch, rest, *split[dim + 1 :])
  return base_layer.maybe_shard(x, split, at.names)


def _without(split: tuple[Axes, ...], axes: Axes) -> tuple[Axes, ...]:
  return tuple(tuple(a for a in of if a not in axes) for of in split)
