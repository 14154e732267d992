"""Deep models known from two shallow ones.

Without a scan, a program grows with every block, and so do the minutes and the
memory that compiling takes: over 18 GB for all 32 blocks of H/14. But whatever
is counted of a program grows by the same with every further block, so two cut
models tell what the whole one needs. H/14 on a v4-128, 16 images a chip, has
127.2 ms of computation, 24.8 ms of exchanges and 13.2 GiB compiled in whole, and
127.3 ms, 24.9 ms and 13.9 GiB from 4 and 8 blocks.
"""

from collections.abc import Mapping
import math
from typing import Any

from pax_softmoe import protocol

# With fewer, what comes before and after the blocks would distort the line.
_MIN_BLOCKS = 4


def of(experiment: protocol.Experiment) -> list[dict[str, Any]]:
  """Returns the settings of the two cut models, or none if whole is better.

  Both have dense and MoE blocks in the ratio of the experiment, the second
  twice as many as the first.

  Args:
    experiment: an `ImageClassification`.
  """
  layers, moe = experiment.NUM_LAYERS, experiment.num_moe_layers()
  parts = math.gcd(layers, moe)
  unit = layers // parts
  first = unit * -(-_MIN_BLOCKS // unit)
  if experiment.SCAN_LAYERS or 2 * first >= layers:
    return []
  return [_settings(size, size * moe // layers) for size in (first, 2 * first)]


def _settings(layers: int, moe: int) -> dict[str, Any]:
  return {
      'NUM_LAYERS': layers,
      'MOE_LAYERS': tuple(range(layers - moe, layers)),
  }


def extrapolate(small: Any, large: Any, factor: float) -> Any:
  """Returns what continues the line from one result to the next.

  Args:
    small: a number, or nested dicts of numbers.
    large: the same of the larger model; what it lacks, or has more, is 0 in
      the other. Anything else than numbers is taken from here.
    factor: how far beyond `small`, in steps of `large - small`.

  Returns:
    The same structure, with integers where both have integers.
  """
  if isinstance(large, Mapping) or isinstance(small, Mapping):
    small, large = small or {}, large or {}
    return {
        key: extrapolate(small.get(key, 0), large.get(key, 0), factor)
        for key in {**large, **small}
    }
  if not isinstance(large, int | float):
    return large
  value = small + factor * (large - small)
  is_whole = isinstance(small, int) and isinstance(large, int)
  return round(value) if is_whole else value
