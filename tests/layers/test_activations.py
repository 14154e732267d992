"""The activation of MLPs."""

import jax
from jax import numpy as jnp
import layer_testing
import numpy as np
from pax_softmoe.layers import activations
import pytest


def gelu(x):
  layer = layer_testing.instantiate(activations.GELU)
  return layer_testing.apply(layer, {}, x)


def test_it_is_the_tanh_approximation():
  x = np.linspace(-4, 4, 33, dtype=np.float64)
  want = x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
  got = gelu(jnp.asarray(x, jnp.float32))
  np.testing.assert_allclose(got, want, atol=1e-6)


@pytest.mark.parametrize('dtype', [jnp.bfloat16, jnp.float16, jnp.float32])
def test_it_is_rounded_once_to_the_dtype_of_its_inputs(dtype):
  x = jnp.linspace(-3, 3, 64).astype(dtype)
  got = gelu(x)
  assert got.dtype == dtype
  want = jax.nn.gelu(x.astype(jnp.float32)).astype(dtype)
  np.testing.assert_array_equal(got, want)
