"""The activation of all MLPs."""

from jax import numpy as jnp
from praxis import pytypes
from praxis.layers import activations

JTensor = pytypes.JTensor


class GELU(activations.GELU):
  """Tanh-approximate GELU, computed in float32, or float64 of float64.

  On TPU, elementwise work in bfloat16 is done in float32 anyway, and each
  rounding in between costs.
  """

  def __call__(self, inputs: JTensor) -> JTensor:
    """Returns the activation of [..., H] in the dtype of `inputs`."""
    wide = jnp.promote_types(inputs.dtype, jnp.float32)
    return super().__call__(inputs.astype(wide)).astype(inputs.dtype)
