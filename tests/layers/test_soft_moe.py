"""The Soft MoE layer, alone and inside praxis' transformers."""

import golden_data
import jax
from jax import numpy as jnp
import layer_testing
import numpy as np
from pax_softmoe import layers
from praxis import pax_fiddle
from praxis.layers import transformers
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


def transformer_inputs():
  x = jax.random.normal(jax.random.PRNGKey(0), [B, N, D])
  paddings = jnp.zeros([B, N]).at[1, 12:].set(1)
  return x, paddings


def moe_feed_forward():
  tpl = pax_fiddle.Config(layers.MoEFeedForward)
  return tpl.set(
      moe_tpl=pax_fiddle.Config(
          layers.SoftMoE, num_experts=E, slots_per_expert=P
      )
  )


def test_serves_as_feed_forward_of_a_praxis_transformer():
  layer = layer_testing.instantiate(
      transformers.Transformer,
      input_dims=D,
      hidden_dims=H,
      num_heads=2,
      tr_fflayer_tpl=moe_feed_forward(),
  )
  x, paddings = transformer_inputs()
  mask = jnp.zeros([B, 1, N, N])
  variables = layer_testing.init(layer, x, paddings, mask)
  y, _ = layer_testing.apply(layer, variables, x, paddings, mask)
  assert y.shape == x.shape
  moe = variables['params']['ff_layer']['moe']
  assert moe['phi'].shape == (D, E, P)


@pytest.mark.parametrize('repeated', [False, True])
def test_serves_as_moe_layer_of_praxis_stacks(repeated):
  stacked = pax_fiddle.Config(
      transformers.StackedTransformer,
      num_layers=2,
      model_dims=D,
      hidden_dims=H,
      num_heads=2,
      moe_layers=[1],
      num_experts=E,
      num_groups=1,
      moe_layer_tpl=moe_feed_forward(),
  )
  if repeated:
    layer = layer_testing.instantiate(
        transformers.StackedTransformerRepeated, block=stacked, x_times=3
    )
  else:
    layer = layer_testing.instantiate(stacked)
  x, paddings = transformer_inputs()
  variables = layer_testing.init(layer, x, paddings)
  y = layer_testing.apply(layer, variables, x, paddings)
  # What padded positions hold must not reach the others.
  other = layer_testing.apply(layer, variables, x.at[1, 12:].set(9.0), paddings)
  np.testing.assert_allclose(y[0], other[0], atol=1e-5)
  np.testing.assert_allclose(y[1, :12], other[1, :12], atol=1e-4)
  params = variables['params']
  params = params['repeat']['sub'] if repeated else params
  assert 'moe' in params['x_layers_1']['ff_layer']
  assert 'moe' not in params['x_layers_0']['ff_layer']


@pytest.mark.parametrize(
    'policy', ['pre', 'primer_hybrid', 'post', 'post_skip']
)
def test_norm_policies_put_the_norm_where_praxis_does(policy):
  """Against praxis' dense layer, with experts that do what it does."""
  tpl = moe_feed_forward()
  tpl.set(input_dims=D, hidden_dims=H, norm_policy=policy)
  tpl.moe_tpl.set(num_experts=1, slots_per_expert=1)
  ours = layer_testing.instantiate(tpl)
  dense = layer_testing.instantiate(
      layers.feed_forward.DenseFeedForward,
      input_dims=D,
      hidden_dims=H,
      norm_policy=policy,
  )
  # With one token, one expert and one slot, every weight is one.
  x = jax.random.normal(jax.random.PRNGKey(0), [B, 1, D])
  variables = layer_testing.init(ours, x)
  params = variables['params']
  experts = params['moe']['experts']
  dense_params = {k: v for k, v in params.items() if 'norm' in k}
  for i, (w, b) in enumerate((('wi', 'bi'), ('wo', 'bo')), start=1):
    dense_params[f'ffn_layer{i}'] = {
        'linear': {'w': experts[w][0]},
        'bias': {'b': experts[b][0]},
    }
  got = layer_testing.apply(ours, variables, x)
  want = layer_testing.apply(dense, {'params': dense_params}, x)
  np.testing.assert_allclose(got, want, atol=1e-5)


def test_unknown_norm_policy_is_refused():
  layer = layer_testing.instantiate(
      moe_feed_forward().set(input_dims=D, hidden_dims=H, norm_policy='no')
  )
  with pytest.raises(ValueError, match="norm_policy is 'no'; use one of pre"):
    layer_testing.init(layer, jnp.zeros([B, N, D]))


def test_step_by_step_decoding_is_refused():
  layer = layer_testing.instantiate(
      moe_feed_forward().set(input_dims=D, hidden_dims=H)
  )
  with pytest.raises(NotImplementedError, match='use it in encoders'):
    layer.extend_step(jnp.zeros([B, D]), time_step=0)
