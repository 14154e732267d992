"""Norm, feed-forward layer and residual in one."""

import jax
from jax import numpy as jnp
import layer_testing
import numpy as np
from pax_softmoe import layers
from praxis import pax_fiddle
from praxis.layers import transformers
import pytest

B, N, D, E, P, H = 2, 16, 8, 4, 4, 16


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
