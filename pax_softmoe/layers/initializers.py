"""Initial weights as `jax.nn.initializers` have them, for Praxis."""

import math

from praxis import base_layer

WeightInit = base_layer.WeightInit

# The standard deviation of a standard normal cut off at two. Praxis' truncated
# normal does not divide by it, JAX' does, and so keeps the one it promises.
_TRUNCATED_NORMAL_STDDEV = 0.87962566103423978


def lecun_normal(fan_in: int) -> WeightInit:
  """Returns a truncated normal of the standard deviation fan_in^-1/2."""
  return WeightInit.TruncatedGaussian(
      1 / math.sqrt(fan_in) / _TRUNCATED_NORMAL_STDDEV
  )


def xavier_uniform(fan_in: int, fan_out: int) -> WeightInit:
  """Returns a uniform one of the variance 2 / (fan_in + fan_out)."""
  return WeightInit.Uniform(math.sqrt(6 / (fan_in + fan_out)))
