"""Tokens Choice and Experts Choice layers, alone and inside models."""

import re

import golden_data
import jax
from jax import numpy as jnp
import layer_testing
import numpy as np
from pax_softmoe import layers
from praxis import pax_fiddle
from praxis.layers import transformers
import pytest
import sparse_layers
from sparse_layers import B
from sparse_layers import D
from sparse_layers import E
from sparse_layers import H
from sparse_layers import N


@pytest.mark.parametrize(
    'name, method, fields',
    [
        ('ec_c1', layers.ExpertsChoiceMoE, {}),
        ('tc_k1_bpr', layers.TokensChoiceMoE, {'num_selected_experts': 1}),
        ('tc_k2_bpr', layers.TokensChoiceMoE, {'num_selected_experts': 2}),
    ],
)
def test_equals_official_code_outputs_and_gradients(name, method, fields):
  golden = golden_data.load(f'{name}_2x32x8_E8_h16')
  layer = sparse_layers.sparse_moe(
      method, capacity_rounding='round', capacity_multiple=1, **fields
  )

  def loss(variables, x):
    y = layer_testing.apply(layer, variables, x)
    return jnp.sum(y * golden['c']), y

  gradient = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))
  (gv, gx), y = gradient(sparse_layers.golden_variables(golden), golden['x'])
  got = gv['params']
  pairs = {
      'y': y,
      'gx': gx,
      'gwg': got['gate'],
      'gw1': got['experts']['wi'],
      'gb1': got['experts']['bi'],
      'gw2': got['experts']['wo'],
      'gb2': got['experts']['bo'],
  }
  for key, value in pairs.items():
    assert golden_data.distance(value, golden[key]) < 1e-5, key


def test_summaries_equal_the_official_metrics():
  golden = golden_data.load('ec_c1_2x32x8_E8_h16')
  layer = sparse_layers.sparse_moe(layers.ExpertsChoiceMoE)
  _, state = layer.apply(
      sparse_layers.golden_variables(golden), golden['x'], mutable=['summaries']
  )
  summaries = state['summaries']
  processed = golden['met_ratio_processed_items_by_at_least_1_experts'].mean()
  np.testing.assert_allclose(
      summaries['dropped_tokens_scalar'], 1 - processed, rtol=1e-5
  )
  gates = jax.nn.softmax(golden['x'] @ golden['wg'])
  importance = E * gates.mean(axis=1)
  for name, want in (
      ('mean_max_gate', gates.max(-1)),
      ('min_expert_importance', importance.min(-1)),
      ('max_expert_importance', importance.max(-1)),
  ):
    got = summaries[name + '_scalar']
    np.testing.assert_allclose(got, want.mean(), rtol=1e-5)


def test_starts_as_the_official_code_starts():
  layer = sparse_layers.tokens_choice().clone(input_dims=256, num_experts=64)
  params = layer_testing.init(layer, jnp.zeros([1, 4, 256]))['params']
  gate = np.asarray(params['gate'])
  assert gate.shape == (256, 64)
  np.testing.assert_allclose(gate.std(), 1 / 16, rtol=0.02)
  assert np.abs(gate).max() < 2 / 16 / 0.879 * 1.001
  wi = np.asarray(params['experts']['wi'])
  assert (wi == wi[:1]).all()


@sparse_layers.BOTH
def test_permuted_tokens_give_permuted_outputs(method):
  variables, x = sparse_layers.variables_and_inputs()
  layer = sparse_layers.sparse_moe(method)
  order = np.random.default_rng(0).permutation(N)
  got = layer_testing.apply(layer, variables, x[:, order])
  want = layer_testing.apply(layer, variables, x)[:, order]
  assert not want.all(axis=-1).all()  # Some tokens are dropped.
  np.testing.assert_allclose(got, want, atol=1e-6)


@sparse_layers.BOTH
def test_padded_tokens_change_nothing_and_take_no_room(method):
  variables, x = sparse_layers.variables_and_inputs()
  # As many slots for 32 tokens, 16 of them padded, as for 16.
  padded = sparse_layers.sparse_moe(
      method, capacity_factor=0.5, capacity_multiple=1
  )
  layer = padded.clone(capacity_factor=1.0)
  paddings = jnp.zeros([B, N]).at[:, ::2].set(1)
  x = x.at[:, ::2].multiply(100.0)

  def loss(x):
    y = layer_testing.apply(padded, variables, x, paddings)
    return jnp.sum(jnp.square(y)), y

  gradient, y = jax.jit(jax.grad(loss, has_aux=True))(x)
  want = layer_testing.apply(layer, variables, x[:, 1::2])
  assert want.any()
  np.testing.assert_allclose(y[:, 1::2], want, atol=1e-6)
  assert not y[:, ::2].any() and not gradient[:, ::2].any()


@sparse_layers.BOTH
def test_a_batch_of_nothing_but_padding_is_zero(method):
  variables, x = sparse_layers.variables_and_inputs()
  y = layer_testing.apply(
      sparse_layers.sparse_moe(method), variables, x, jnp.ones([B, N])
  )
  assert not y.any()


@sparse_layers.BOTH
def test_sequences_of_a_group_are_routed_as_one(method):
  variables, x = sparse_layers.variables_and_inputs([4, 8, D])
  layer = sparse_layers.sparse_moe(method, group_size=2)
  y = layer_testing.apply(layer, variables, x)
  joined = layer_testing.apply(
      layer.clone(group_size=1), variables, x.reshape(2, 16, D)
  )
  np.testing.assert_array_equal(y, joined.reshape(4, 8, D))
  alone = layer_testing.apply(layer.clone(group_size=1), variables, x)
  assert golden_data.distance(y, alone) > 1e-2


@sparse_layers.BOTH
def test_a_batch_that_is_no_multiple_of_the_group_is_refused(method):
  variables, x = sparse_layers.variables_and_inputs([6, 8, D])
  layer = sparse_layers.sparse_moe(method, group_size=4)
  with pytest.raises(ValueError, match='set group_size to one of 1, 2, 3, 6'):
    layer_testing.apply(layer, variables, x)


@sparse_layers.BOTH
def test_noise_is_drawn_in_training_only(method):
  variables, x = sparse_layers.variables_and_inputs()
  quiet = layer_testing.apply(sparse_layers.sparse_moe(method), variables, x)
  layer = sparse_layers.sparse_moe(method).clone(noise_stddev=1.0)
  noisy = layer_testing.apply(layer, variables, x, seed=1)
  other = layer_testing.apply(layer, variables, x, seed=2)
  assert golden_data.distance(noisy, quiet) > 1e-3
  assert golden_data.distance(noisy, other) > 1e-3
  evaluated = layer_testing.apply(layer, variables, x, do_eval=True)
  np.testing.assert_array_equal(evaluated, quiet)


@sparse_layers.BOTH
def test_router_is_float32_when_all_else_is_bfloat16(method):
  variables, x = sparse_layers.variables_and_inputs()
  layer = sparse_layers.sparse_moe(method, fprop_dtype=jnp.bfloat16)
  x = x.astype(jnp.bfloat16)
  y, state = layer.apply(variables, x, mutable=['intermediates'])
  assert y.dtype == jnp.bfloat16
  gates = state['intermediates']['gates'][0]
  assert gates.dtype == jnp.float32
  want = jax.nn.softmax(x.astype(jnp.float32) @ variables['params']['gate'])
  np.testing.assert_allclose(gates, want, rtol=1e-5)


@sparse_layers.BOTH
def test_a_single_token(method):
  variables, x = sparse_layers.variables_and_inputs([B, 1, D])
  y = layer_testing.apply(sparse_layers.sparse_moe(method), variables, x)
  assert y.shape == x.shape and y.any()


@sparse_layers.BOTH
def test_more_experts_than_tokens(method):
  layer = sparse_layers.sparse_moe(method).clone(num_experts=128)
  variables, x = sparse_layers.variables_and_inputs([B, 49, D], num_experts=128)

  @jax.jit
  @jax.grad
  def gradient(variables):
    return jnp.sum(jnp.square(layer_testing.apply(layer, variables, x)))

  for leaf in jax.tree_util.tree_leaves(gradient(variables)):
    assert jnp.isfinite(leaf).all() and leaf.any()


@sparse_layers.BOTH
def test_no_array_spans_tokens_experts_and_slots(method):
  layer = sparse_layers.sparse_moe(method).clone(num_experts=128)
  variables, x = sparse_layers.variables_and_inputs(
      [1, 196, D], num_experts=128
  )
  jaxpr = jax.make_jaxpr(lambda x: layer.apply(variables, x))(x)
  shapes = re.findall(r'f32\[([0-9,]+)\]|i32\[([0-9,]+)\]', str(jaxpr))
  sizes = [np.prod([int(n) for n in (a or b).split(',')]) for a, b in shapes]
  # The largest are the gates, tokens by experts.
  assert max(sizes) == 196 * 128


@pytest.mark.parametrize(
    'fields, message',
    [
        ({'num_selected_experts': 9}, 'at most to num_experts, 8'),
        ({'capacity_factor': 0.0}, 'capacity_factor is 0.0; set it above 0'),
        ({'capacity_rounding': 'up'}, "'up'; use one of ceil, round"),
        ({'group_size': 0}, 'group_size is 0; set it to 1 or more'),
    ],
)
def test_settings_that_cannot_be_are_refused(fields, message):
  with pytest.raises(ValueError, match=message):
    layer_testing.init(
        sparse_layers.tokens_choice(**fields), jnp.zeros([1, 4, D])
    )


def test_serves_in_praxis_stacks_with_paddings():
  moe = pax_fiddle.Config(layers.TokensChoiceMoE, noise_stddev=0.0)
  stacked = pax_fiddle.Config(
      transformers.StackedTransformer,
      num_layers=1,
      model_dims=D,
      hidden_dims=H,
      num_heads=2,
      moe_layers=[0],
      num_experts=E,
      num_groups=1,
      moe_layer_tpl=pax_fiddle.Config(layers.MoEFeedForward, moe_tpl=moe),
  )
  layer = layer_testing.instantiate(
      transformers.StackedTransformerRepeated, block=stacked, x_times=2
  )
  x = jax.random.normal(jax.random.PRNGKey(0), [B, 8, D])
  paddings = jnp.zeros([B, 8]).at[1, 5:].set(1)
  variables = layer_testing.init(layer, x, paddings)
  y = layer_testing.apply(layer, variables, x, paddings)
  # What padded positions hold must not reach the others.
  other = layer_testing.apply(layer, variables, x.at[1, 5:].set(9.0), paddings)
  np.testing.assert_allclose(y[0], other[0], atol=1e-5)
  np.testing.assert_allclose(y[1, :5], other[1, :5], atol=1e-4)
