"""What a point needs and takes, by arithmetic alone: the first estimate.

Memory is of `memory`, time the sum, without overlap, of `compute` and of
`exchanges` by `links`. Nothing here is measured. It orders points, and leaves
out those that need far more memory than there is; `compile_step` tells the rest.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import math

from jax import numpy as jnp
from pax_softmoe.hlo import collectives
from pax_softmoe.model_size import counts
from pax_softmoe.model_size import placement
from pax_softmoe.sharding import axis_rules
from pax_softmoe.sharding import fits
from pax_softmoe.tpu import hardware
from pax_softmoe.tpu import links
from pax_softmoe.tuning import compute
from pax_softmoe.tuning import exchanges
from pax_softmoe.tuning import layout
from pax_softmoe.tuning import memory
from pax_softmoe.tuning import placed
from pax_softmoe.tuning import space


def constants(chip: hardware.Chip) -> dict[str, float]:
  """Returns the numbers that estimates for a chip rest on."""
  return {
      'peak_flops': chip.peak_flops,
      'hbm_bytes_per_second': chip.hbm_bytes_per_second,
      'usable_hbm_gib': chip.usable_hbm_gib,
      'clock_hz': chip.clock_hz,
      'link_bytes_per_second': chip.link_bytes_per_second,
      'hop_seconds': hardware.HOP_SECONDS,
      'dcn_bytes_per_second': chip.dcn_bytes_per_second,
      'matmul_share_of_peak': compute.MATMUL_SHARE_OF_PEAK,
      'traffic_model_dims': compute.TRAFFIC_MODEL_DIMS,
      'traffic_hidden_dims': compute.TRAFFIC_HIDDEN_DIMS,
      'traffic_scores': compute.TRAFFIC_SCORES,
      'traffic_optimizer': compute.TRAFFIC_OPTIMIZER,
  }


@dataclasses.dataclass(frozen=True)
class Estimate:
  """One point by arithmetic.

  Attributes:
    gib: memory of a chip by what it is for.
    collectives: what chips exchange in a step.
    compute_ms: without exchanges.
    exchange_ms: exchanges alone.
    usable_gib: what programs may use of the memory of a chip.
  """

  gib: Mapping[str, float]
  collectives: Sequence[collectives.Collective]
  compute_ms: float
  exchange_ms: float
  usable_gib: float

  @property
  def hbm_gib(self) -> float:
    return sum(self.gib.values())

  def fits(self, slack: float = 1.0) -> bool:
    """Returns whether memory is at most that many times the usable."""
    return self.hbm_gib <= slack * self.usable_gib

  @property
  def step_ms(self) -> float:
    return self.compute_ms + self.exchange_ms


class Model:
  """What arithmetic needs to know of an experiment, worked out once."""

  def __init__(self, experiment: type):
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

  def weights(self, preset: str) -> Sequence[axis_rules.Array]:
    """Returns all weights with their splits under a preset."""
    if preset not in self._weights:
      changed = self._experiment.with_settings(**space.preset_settings(preset))
      self._weights[preset] = placement.weights(changed())
    return self._weights[preset]

  def dcn_seconds(self, slices: int, tpu_slice: hardware.Slice) -> float:
    """Returns how long slices take to sum up their gradients, on paper.

    Every device sends its share of all gradients, in the computation dtype, twice
    around a ring of slices, while nothing else happens.

    Args:
      slices: how many there are.
      tpu_slice: each of them.
    """
    weights = self.weights(self._experiment.SHARDING)
    size = sum(math.prod(array.shape) for array in weights)
    size *= jnp.dtype(self._experiment.COMPUTE_DTYPE).itemsize
    passes = 2 * (slices - 1) / slices
    size /= tpu_slice.devices
    return passes * size / tpu_slice.chip.dcn_bytes_per_second

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
    at = placed.Placed(
        experiment, point, weights, self.forward_flops, self.tokens, self.slots
    )
    found = list(exchanges.expected(at))
    tpu_slice = hardware.find_slice(slice_name)
    places = layout.coordinates(slice_name, point.mesh)
    return Estimate(
        gib={name: n / hardware.GIB for name, n in memory.by_use(at).items()},
        collectives=found,
        compute_ms=1e3 * compute.seconds(at, tpu_slice.chip),
        exchange_ms=1e3 * links.total_seconds(found, tpu_slice, places),
        usable_gib=tpu_slice.chip.usable_hbm_gib,
    )
