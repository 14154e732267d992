"""What a point needs and takes, by arithmetic alone: the first estimate.

Memory of a chip is the sum of

  weights      as they are split, with their gradients and both Adam moments
  casts        one more copy of the weights in the computation dtype
  kept         of each block, what its remat policy keeps for the backward pass
  working set  what one block's backward pass holds at once

Time is the sum, without overlap, of matrix products at a share of the peak,
traffic to memory at its bandwidth, and what chips exchange by `links`. Nothing
here is measured. It orders points, and leaves out those that need far more
memory than there is; `compile_step` tells the rest.
"""

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import math
from typing import Any

from jax import numpy as jnp
import numpy as np
from pax_softmoe.hlo import collectives
from pax_softmoe.model_size import counts
from pax_softmoe.model_size import placement
from pax_softmoe.sharding import axis_rules
from pax_softmoe.sharding import fits
from pax_softmoe.tpu import hardware
from pax_softmoe.tpu import links
from pax_softmoe.tuning import layout
from pax_softmoe.tuning import space

# Big bfloat16 products take 80 to 93 % of the peak by the compiler's cycles.
MATMUL_SHARE_OF_PEAK = 0.85
# Numbers that the forward pass of a block reads and writes, for each token: in
# units of model dims, hidden dims, and attention scores (tokens x heads).
# Chosen to come near the compiler's cycles for SoftMoEH14 on a v4-128.
TRAFFIC_MODEL_DIMS = 22
TRAFFIC_HIDDEN_DIMS = 4
TRAFFIC_SCORES = 4
# Times that the optimizer reads or writes all weights, moments and gradients.
TRAFFIC_OPTIMIZER = 10
# Forward passes that a step is worth, backward pass included.
PASSES = {'full': 4.0, 'exchange': 4.0, 'products': 3.75, 'none': 3.0}
_SCORE_BYTES = 4
# Numbers that a block works with, and those that remat policy 'none' keeps of
# it, for each token and in the same units; chosen to come near the compiler's
# sizes of the same.
WORKING_SET = (24, 4, 4)
KEPT_BY_NONE = (9, 3, 0)

CONSTANTS = {
    'peak_flops': hardware.PEAK_FLOPS,
    'hbm_bytes_per_second': hardware.HBM_BYTES_PER_SECOND,
    'usable_hbm_gib': hardware.USABLE_HBM_GIB,
    'clock_hz': hardware.CLOCK_HZ,
    'link_bytes_per_second': links.LINK_BYTES_PER_SECOND,
    'hop_seconds': links.HOP_SECONDS,
    'dcn_bytes_per_second': hardware.DCN_BYTES_PER_SECOND,
    'matmul_share_of_peak': MATMUL_SHARE_OF_PEAK,
    'traffic_model_dims': TRAFFIC_MODEL_DIMS,
    'traffic_hidden_dims': TRAFFIC_HIDDEN_DIMS,
    'traffic_scores': TRAFFIC_SCORES,
    'traffic_optimizer': TRAFFIC_OPTIMIZER,
}


@dataclasses.dataclass(frozen=True)
class Estimate:
  """One point by arithmetic.

  Attributes:
    gib: memory of a chip by what it is for.
    collectives: what chips exchange in a step.
    compute_ms: without exchanges.
    communication_ms: exchanges alone.
  """

  gib: Mapping[str, float]
  collectives: Sequence[collectives.Collective]
  compute_ms: float
  communication_ms: float

  @property
  def hbm_gib(self) -> float:
    return sum(self.gib.values())

  @property
  def step_ms(self) -> float:
    return self.compute_ms + self.communication_ms


class Model:
  """What arithmetic needs to know of an experiment, worked out once."""

  def __init__(self, experiment: Any):
    """Reads the sizes; nothing is allocated.

    Args:
      experiment: a class of `ImageClassification`.
    """
    self._experiment = experiment
    self._weights = {}
    plain = experiment()
    self.forward_flops = counts.forward_flops(plain)
    self.tokens = counts.num_tokens(plain)
    self.slots = counts.slots_per_image(plain)
    self.moe_layers = plain.num_moe_layers()

  def weights(self, preset: str) -> Sequence[axis_rules.Array]:
    """Returns all weights with their splits under a preset."""
    if preset not in self._weights:
      changed = self._experiment.with_settings(**space.preset_settings(preset))
      self._weights[preset] = placement.weights(changed())
    return self._weights[preset]

  def dcn_seconds(self, slices: int, chips: int) -> float:
    """Returns how long slices take to sum up their gradients, on paper.

    Every chip sends its share of all gradients, in the computation dtype, twice
    around a ring of slices, while nothing else happens.

    Args:
      slices: how many there are.
      chips: of each.
    """
    weights = self.weights(self._experiment.SHARDING)
    size = sum(math.prod(array.shape) for array in weights)
    size *= jnp.dtype(self._experiment.COMPUTE_DTYPE).itemsize
    passes = 2 * (slices - 1) / slices
    return passes * size / chips / hardware.DCN_BYTES_PER_SECOND

  def estimate(self, slice_name: str, point: space.Point) -> Estimate:
    """Returns the estimate of a point of that slice.

    Raises:
      ValueError: the experiment cannot run there.
    """
    experiment = self._experiment.with_settings(**point.settings())()
    problem = fits.mesh_problem(experiment, point.mesh)
    if problem:
      raise ValueError(problem)
    weights = [
        dataclasses.replace(array, mesh=point.mesh)
        for array in self.weights(point.preset)
    ]
    at = _At(self, experiment, point, weights)
    found = list(at.exchanges())
    tpu_slice = hardware.find_slice(slice_name)
    places = layout.coordinates(slice_name, point.mesh)
    return Estimate(
        gib={name: n / hardware.GIB for name, n in at.memory().items()},
        collectives=found,
        compute_ms=1e3 * at.compute_seconds(),
        communication_ms=1e3 * links.total_seconds(found, tpu_slice, places),
    )


class _At:
  """A model at one point; all numbers are of one chip and one step."""

  def __init__(
      self,
      model: Model,
      experiment: Any,
      point: space.Point,
      weights: Sequence[axis_rules.Array],
  ):
    self.model = model
    self.experiment = experiment
    self.point = point
    self.weights = weights
    self.rules = experiment.sharding_rules()
    self.itemsize = jnp.dtype(experiment.COMPUTE_DTYPE).itemsize
    batch_parts = self._parts(self.rules.activation('b')[0])
    self.images = point.images_per_chip * point.chips / batch_parts
    self.weight_count = sum(a.bytes_per_device / a.itemsize for a in weights)

  def _parts(self, axes: Any) -> int:
    return axis_rules.axis_size(self.point.mesh, axes)

  def memory(self) -> dict[str, float]:
    """Returns bytes by what they are for."""
    weights = sum(a.bytes_per_device for a in self.weights)
    moment = self.experiment.FIRST_MOMENT_DTYPE
    first = (
        jnp.dtype(moment).itemsize * self.weight_count if moment else weights
    )
    kept, working = self._activations()
    return {
        'weights': weights,
        'optimizer': first + weights,
        'gradients': weights,
        'casts': self.weight_count * self.itemsize,
        'kept': kept,
        'working set': working,
    }

  def _activations(self) -> tuple[float, float]:
    """Returns bytes that all blocks keep, and that one works with."""
    e, c = self.experiment, self.itemsize
    n, d, slots = self.model.tokens, e.MODEL_DIMS, self.model.slots
    h, scores = e.HIDDEN_DIMS, n * n * e.NUM_HEADS
    moe, layers = self.model.moe_layers, e.NUM_LAYERS

    def numbers(dims, hidden, attention):
      return n * (dims * d + hidden * h) * c + attention * scores * _SCORE_BYTES

    kept = layers * n * d * c  # The input of each block.
    if e.REMAT in ('exchange', 'products'):
      kept += moe * 2 * slots * d * c
    if e.REMAT == 'products':
      kept += layers * n * (d * c + e.NUM_HEADS * 4)
      kept += moe * (slots * h * c + n * slots * 4)
    if e.REMAT == 'none':
      kept = layers * numbers(*KEPT_BY_NONE)
    logits = 3 * e.NUM_CLASSES * 4
    working = numbers(*WORKING_SET) + logits
    return self.images * kept, self.point.images_per_chip * working

  def compute_seconds(self) -> float:
    """Returns products and memory traffic, one after the other."""
    e = self.experiment
    tokens = self.point.images_per_chip * self.model.tokens
    passes = PASSES[e.REMAT]
    flops = passes * self.model.forward_flops * self.point.images_per_chip
    dims = TRAFFIC_MODEL_DIMS * e.MODEL_DIMS
    dims += TRAFFIC_HIDDEN_DIMS * e.HIDDEN_DIMS
    scores = TRAFFIC_SCORES * self.model.tokens * e.NUM_HEADS * _SCORE_BYTES
    traffic = passes * e.NUM_LAYERS * tokens * (dims * self.itemsize + scores)
    traffic += TRAFFIC_OPTIMIZER * sum(a.bytes_per_device for a in self.weights)
    # What is kept is written once and read once.
    traffic += 2 * self._activations()[0]
    products = flops / (MATMUL_SHARE_OF_PEAK * hardware.PEAK_FLOPS)
    return products + traffic / hardware.HBM_BYTES_PER_SECOND

  def exchanges(self) -> Iterator[collectives.Collective]:
    """Yields what chips exchange."""
    e, c = self.experiment, self.itemsize
    layers, dims = e.NUM_LAYERS, e.MODEL_DIMS
    again = 1 if e.REMAT in ('full', 'exchange') else 0
    tensor = self._axes(self.rules.activations, 'ha')
    # Tokens to experts and back, their gradients, and once more if forgotten.
    exchange = self._axes(self.rules.activations, 'e')
    if self.model.moe_layers and exchange:
      count = self.model.moe_layers * (6 if e.REMAT == 'full' else 4)
      size = self.images * self.model.slots * dims * c
      yield self._collective('all-to-all', exchange, count, size)
    # Around attention and MLP, tokens of chips that share their weights.
    if tensor:
      size = self.images * self.model.tokens * dims * c * self._parts(tensor)
      for kind in ('all-gather', 'reduce-scatter'):
        yield self._collective(kind, tensor, 2 * layers * (2 + again), size)
    batch = self._axes(self.rules.activations, 'b')
    totals = {}
    for array in self.weights:
      axes = {a for split in array.split for a in _as_axes(split)}
      is_expert = '/experts/' in array.name
      stays = set(exchange if is_expert else ()) | set(tensor)
      gathered = tuple(a for a in batch if a in axes and a not in stays)
      summed = tuple(a for a in batch if a not in axes)
      size = array.bytes_per_device
      narrow = size / array.itemsize * c
      whole = self._parts(gathered)
      for kind, over, count, amount in (
          ('all-gather', gathered, 2 + again, narrow * whole),
          ('reduce-scatter', gathered, 1, narrow * whole),
          ('all-reduce', summed, 1, narrow),
      ):
        if over:
          before = totals.get((kind, over, count), 0)
          totals[kind, over, count] = before + amount
    for (kind, over, count), amount in totals.items():
      yield self._collective(kind, over, count * layers, amount / layers)

  def _axes(self, rules: Mapping[str, Any], letters: str) -> tuple[str, ...]:
    """Returns the mesh axes of more than one chip that split those letters."""
    used = {axis for l in letters for axis in rules.get(l, ())}
    sizes = zip(axis_rules.MESH_AXES, self.point.mesh)
    return tuple(axis for axis, size in sizes if size > 1 and axis in used)

  def _collective(
      self, kind: str, axes: Sequence[str], count: int, size: float
  ) -> collectives.Collective:
    return collectives.Collective(
        kind=kind,
        opcode=kind,
        name='+'.join(axes),
        count=count,
        bytes=round(size),
        dtype='',
        source_dtype='',
        groups=_groups(self.point.mesh, axes),
    )


def _as_axes(split: Any) -> Sequence[str]:
  return (split,) if isinstance(split, str) else split or ()


def _groups(
    mesh: Sequence[int], axes: Sequence[str]
) -> tuple[tuple[int, ...], ...]:
  """Returns the places of a mesh that differ in nothing but those axes."""
  chosen = [axis_rules.MESH_AXES.index(axis) for axis in axes]
  others = [i for i in range(len(mesh)) if i not in chosen]
  places = np.arange(np.prod(mesh)).reshape(mesh).transpose(others + chosen)
  size = axis_rules.axis_size(mesh, tuple(axes))
  return tuple(tuple(group.tolist()) for group in places.reshape(-1, size))
