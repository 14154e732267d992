"""The MLPs of all experts."""

import jax
from jax import numpy as jnp
import layer_testing
import numpy as np
from pax_softmoe.layers import experts
import plain_layers
import pytest

E, B, P, D, H = 3, 2, 4, 8, 16


def make(**fields):
  fields = dict(num_experts=E, input_dims=D, hidden_dims=H) | fields
  return layer_testing.instantiate(experts.ExpertMlps, **fields)


def slots_of(seed=0):
  return jax.random.normal(jax.random.PRNGKey(seed), [E, B, P, D])


def test_expert_e_is_applied_to_its_own_slots():
  layer = make()
  weights = layer_testing.init(layer, slots_of())['params']
  rng = np.random.default_rng(0)
  weights = {
      name: jnp.asarray(rng.normal(size=w.shape), jnp.float32)
      for name, w in weights.items()
  }
  got = layer_testing.apply(layer, {'params': weights}, slots_of())
  want = plain_layers.experts(weights, slots_of().swapaxes(0, 1))
  np.testing.assert_allclose(got, want.swapaxes(0, 1), rtol=2e-5, atol=1e-4)


def test_weights_have_the_fixed_names_and_shapes():
  weights = layer_testing.init(make(), slots_of())['params']
  assert {name: w.shape for name, w in weights.items()} == {
      'wi': (E, D, H),
      'bi': (E, H),
      'wo': (E, H, D),
      'bo': (E, D),
  }


@pytest.mark.parametrize('identical', [True, False])
def test_experts_start_alike_only_if_asked(identical):
  weights = layer_testing.init(make(identical_init=identical), slots_of())[
      'params'
  ]
  for name in ('wi', 'wo'):
    assert (weights[name] == weights[name][:1]).all() == identical
