"""Experts Choice: every expert takes its best tokens."""

from jax import numpy as jnp
import layer_testing
import numpy as np
from pax_softmoe import layers
import pytest
import sparse_layers
from sparse_layers import D


def test_each_expert_takes_the_tokens_that_want_it_most():
  # Token i wants expert 0 by 4 - i, and expert 1 not at all.
  gate = jnp.zeros([D, 2]).at[0, 0].set(1.0)
  x = jnp.zeros([1, 4, D]).at[0, :, 0].set(jnp.array([4.0, 3.0, 2.0, 1.0]))
  layer = sparse_layers.sparse_moe(layers.ExpertsChoiceMoE).clone(
      num_experts=2, capacity_factor=0.5
  )
  variables, _ = sparse_layers.variables_and_inputs(num_experts=2)
  variables['params']['gate'] = gate
  y = layer_testing.apply(layer, variables, x)
  # One slot each: expert 0 takes token 0, expert 1 the last, least sure of 0.
  assert np.flatnonzero(np.asarray(y[0]).any(axis=-1)).tolist() == [0, 3]


@pytest.mark.parametrize('factor, slots', [(1.0, 4), (0.5, 2), (2.0, 8)])
def test_capacity_is_the_tokens_over_the_experts(factor, slots):
  layer = sparse_layers.sparse_moe(layers.ExpertsChoiceMoE).clone(
      num_experts=8, capacity_factor=factor
  )
  assert layer.capacity(32) == slots
