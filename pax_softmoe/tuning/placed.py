"""A model at one point of a sweep: what arithmetic starts from."""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import functools
from typing import Any

from jax import numpy as jnp
from pax_softmoe import protocol
from pax_softmoe.sharding import axis_rules
from pax_softmoe.tuning import space


@dataclasses.dataclass(frozen=True)
class Placed:
  """What one chip has of a model, and its share of a batch.

  Attributes:
    experiment: with the settings of the point.
    point: the point.
    weights: with their splits.
    forward_flops: of an image.
    tokens: of an image.
    slots: of an image in an MoE layer.
  """

  experiment: protocol.Experiment
  point: space.Point
  weights: Sequence[axis_rules.Array]
  forward_flops: float
  tokens: int
  slots: float

  @functools.cached_property
  def rules(self) -> axis_rules.ShardingRules:
    return self.experiment.sharding_rules()

  @property
  def itemsize(self) -> int:
    """Bytes of a number in the computation dtype."""
    return jnp.dtype(self.experiment.COMPUTE_DTYPE).itemsize

  @property
  def images(self) -> float:
    """Images whose tokens a chip has, in whole or in part."""
    parts = self.parts(self.rules.activation('b')[0])
    return self.point.images_per_chip * self.point.chips / parts

  @property
  def weight_bytes(self) -> float:
    """Of all weights on a chip."""
    return sum(array.bytes_per_device for array in self.weights)

  @property
  def weight_count(self) -> float:
    """How many numbers of all weights a chip has."""
    return sum(a.bytes_per_device / a.itemsize for a in self.weights)

  def parts(self, axes: Any) -> int:
    """Returns how many parts some axes of the mesh split an array into."""
    return axis_rules.axis_size(self.point.mesh, axes)

  def axes(
      self, rules: Mapping[str, Sequence[str]], letters: str
  ) -> tuple[str, ...]:
    """Returns the mesh axes of more than one chip that split some letters.

    Args:
      rules: the axes of each letter.
      letters: of dimensions.
    """
    used = {axis for letter in letters for axis in rules.get(letter, ())}
    sizes = zip(axis_rules.MESH_AXES, self.point.mesh)
    return tuple(axis for axis, size in sizes if size > 1 and axis in used)
