"""Layers of both sparse routers, for tests of them."""

import golden_data
from jax import numpy as jnp
import layer_testing
import numpy as np
from pax_softmoe import layers
import pytest

B, N, D, E, H = 2, 32, 8, 8, 16
BOTH = pytest.mark.parametrize(
    'method', [layers.TokensChoiceMoE, layers.ExpertsChoiceMoE]
)


def sparse_moe(method, **kwargs):
  """Returns a layer of the common sizes."""
  fields = dict(
      input_dims=D, hidden_dims=H, num_experts=E, noise_stddev=0.0, **kwargs
  )
  return layer_testing.instantiate(method, **fields)


def tokens_choice(**kwargs):
  """Returns a Tokens Choice layer of the common sizes."""
  return sparse_moe(layers.TokensChoiceMoE, **kwargs)


def golden_variables(golden):
  """Returns the weights of a recorded run of the official code."""
  weights = golden_data.expert_weights(golden)
  return {'params': {'gate': golden['wg'], 'experts': weights}}


def variables_and_inputs(shape=(B, N, D), num_experts=E):
  """Returns random variables of either layer, and random tokens for it."""
  rng = np.random.default_rng(0)
  e = num_experts
  shapes = dict(gate=[D, e], wi=[e, D, H], bi=[e, H], wo=[e, H, D], bo=[e, D])
  params = {
      name: jnp.asarray(rng.normal(size=size), jnp.float32)
      for name, size in shapes.items()
  }
  gate = params.pop('gate')
  x = jnp.asarray(rng.normal(size=shape), jnp.float32)
  return {'params': {'gate': gate, 'experts': params}}, x
