"""The Soft MoE layer, alone and inside praxis' transformers."""

import golden_data
import jax
from jax import numpy as jnp
import layer_testing
import numpy as np
from pax_softmoe import layers
import pytest

B, N, D, E, P, H = 2, 16, 8, 4, 4, 16


def soft_moe(**kwargs):
  fields = dict(input_dims=D, hidden_dims=H, num_experts=E, slots_per_expert=P)
  return layer_testing.instantiate(layers.SoftMoE, **{**fields, **kwargs})


def golden_variables(golden):
  weights = golden_data.expert_weights(golden)
  params = {
      'phi': golden['phi'],
      'scale': golden['scale'],
      'experts': weights,
  }
  return {'params': params}


def test_equals_official_code_outputs_and_gradients():
  golden = golden_data.load('soft_2x16x8_n4p4_h16_f32_norm')
  layer = soft_moe()
  variables = golden_variables(golden)

  def loss(variables, x):
    y = layer_testing.apply(layer, variables, x)
    return jnp.sum(y * golden['c']), y

  gradient = jax.grad(loss, argnums=(0, 1), has_aux=True)
  (gv, gx), y = gradient(variables, golden['x'])
  got = gv['params']
  pairs = {
      'y': y,
      'gx': gx,
      'gphi': got['phi'],
      'gw1': got['experts']['wi'],
      'gb1': got['experts']['bi'],
      'gw2': got['experts']['wo'],
      'gb2': got['experts']['bo'],
  }
  for key, value in pairs.items():
    assert golden_data.distance(value, golden[key]) < 1e-5, key


def test_bfloat16_stays_close_to_official_code():
  golden = golden_data.load('soft_2x16x8_n4p4_h16_official')
  layer = soft_moe(fprop_dtype=jnp.bfloat16)
  y = layer_testing.apply(
      layer, golden_variables(golden), golden['x'].astype(jnp.bfloat16)
  )
  assert y.dtype == jnp.bfloat16
  # bfloat16 keeps 8 bits: one rounding is 2^-9 = 0.2 %, and there are several.
  assert golden_data.distance(y.astype(jnp.float32), golden['y']) < 1.5e-2


@pytest.mark.parametrize('half', [jnp.bfloat16, jnp.float16])
def test_router_is_float32_when_all_else_is_half_as_long(half):
  golden = golden_data.load('soft_2x16x8_n4p4_h16_f32_norm')
  layer = soft_moe(fprop_dtype=half)
  x = golden['x'].astype(half)
  _, state = layer.apply(golden_variables(golden), x, mutable=['intermediates'])
  weights = state['intermediates']['combine_weights'][0]
  assert weights.dtype == jnp.float32
  # The only rounding is that of the tokens.
  assert golden_data.distance(weights, golden['combine']) < 2e-3
  exact = soft_moe()
  _, state = exact.apply(
      golden_variables(golden),
      x.astype(jnp.float32),
      mutable=['intermediates'],
  )
  want = state['intermediates']['combine_weights'][0]
  np.testing.assert_array_equal(weights, want)


def test_starts_as_the_official_code_starts():
  layer = soft_moe(input_dims=256, num_experts=64, slots_per_expert=2)
  params = layer_testing.init(layer, jnp.zeros([1, 4, 256]))['params']
  phi = np.asarray(params['phi'])
  # lecun_normal takes the whole [D, E] as fan-in: 1/sqrt(256 * 64) = 0.0078.
  np.testing.assert_allclose(phi.std(), 0.0078125, rtol=0.02)
  assert np.abs(phi).max() < 2 * 0.0078125 / 0.879 * 1.001
  assert params['scale'] == 1
  wi = np.asarray(params['experts']['wi'])
  assert (wi == wi[:1]).all()
  bound = np.sqrt(6 / (256 + H))
  assert 0.99 * bound < wi.max() <= bound
  np.testing.assert_allclose(
      np.asarray(params['experts']['bi'])[0].std(), 1e-6, rtol=0.5
  )


def test_independent_init_gives_different_experts():
  layer = soft_moe(identical_expert_init=False)
  params = layer_testing.init(layer, jnp.zeros([1, 4, D]))['params']
  for name in ('wi', 'bi', 'wo', 'bo'):
    value = np.asarray(params['experts'][name])
    assert (value[0] != value[1]).all(), name


def test_one_set_of_weights_serves_any_number_of_tokens():
  layer = soft_moe()
  variables = layer_testing.init(layer, jnp.zeros([1, 4, D]))
  for shape in ([1, 1, D], [3, 7, D], [2, 50, D]):
    y = layer_testing.apply(layer, variables, jnp.ones(shape))
    assert y.shape == tuple(shape)


def test_padded_rows_are_zero_and_others_as_without_padding():
  layer = soft_moe()
  x = jax.random.normal(jax.random.PRNGKey(0), [B, N, D])
  variables = layer_testing.init(layer, x)
  paddings = jnp.zeros([B, N]).at[:, 10:].set(1)
  y = layer_testing.apply(layer, variables, x, paddings)
  want = layer_testing.apply(layer, variables, x[:, :10])
  assert not y[:, 10:].any()
  np.testing.assert_allclose(y[:, :10], want, atol=1e-5)


def test_noise_is_drawn_in_training_only():
  layer = soft_moe(noise_stddev=1.0)
  x = jax.random.normal(jax.random.PRNGKey(0), [B, N, D])
  variables = layer_testing.init(layer, x)
  quiet = layer_testing.apply(soft_moe(), variables, x)
  noisy = layer_testing.apply(layer, variables, x, seed=1)
  other = layer_testing.apply(layer, variables, x, seed=2)
  assert golden_data.distance(noisy, quiet) > 1e-3
  assert golden_data.distance(noisy, other) > 1e-3
  evaluated = layer_testing.apply(layer, variables, x, do_eval=True)
  np.testing.assert_array_equal(evaluated, quiet)


def test_summaries_equal_the_official_metrics():
  golden = golden_data.load('soft_2x16x8_n4p4_h16_f32_norm')
  layer = soft_moe()
  _, state = layer.apply(
      golden_variables(golden), golden['x'], mutable=['summaries']
  )
  summaries = state['summaries']
  for ours, theirs in (
      ('mean_max_dispatch_weight', 'met_dispatch_weights_max_mean'),
      ('mean_max_combine_weight', 'met_combine_weights_max_mean'),
      ('router_scale', 'scale'),
  ):
    got = summaries[ours + '_scalar']
    np.testing.assert_allclose(got, golden[theirs], rtol=1e-5)


@pytest.mark.parametrize('field', ['num_experts', 'hidden_dims'])
def test_missing_sizes_are_named(field):
  layer = soft_moe(**{field: 0})
  with pytest.raises(ValueError, match=f'{field} is 0; set it to 1 or more'):
    layer_testing.init(layer, jnp.zeros([1, 4, D]))
