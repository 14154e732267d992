"""The ablations: fixed routing, and Soft MoE with one side fixed."""

import golden_data
import jax
from jax import numpy as jnp
import layer_testing
import numpy as np
from pax_softmoe import layers
from pax_softmoe import routing
import pytest

B, N, D, E, P, H = 2, 16, 8, 4, 4, 16


def fixed_routing(name, **kwargs):
  fields = dict(
      input_dims=D,
      hidden_dims=H,
      num_experts=E,
      slots_per_expert=P,
      routing=name,
  )
  return layer_testing.instantiate(
      layers.FixedRoutingMoE, **{**fields, **kwargs}
  )


def soft_moe(**kwargs):
  return layer_testing.instantiate(
      layers.SoftMoE,
      input_dims=D,
      hidden_dims=H,
      num_experts=E,
      slots_per_expert=P,
      **kwargs,
  )


@pytest.fixture(name='golden', scope='module')
def _golden():
  return golden_data.load('soft_2x16x8_n4p4_h16_f32_norm')


def fixed_variables(golden):
  return {'params': {'experts': golden_data.expert_weights(golden)}}


def soft_variables(golden):
  variables = fixed_variables(golden)
  variables['params'].update(phi=golden['phi'], scale=golden['scale'])
  return variables


def experts(golden, slots):
  """Applies the golden experts to slots [E, B, P, D]."""
  hidden = jnp.einsum('ebpd,edh->ebph', slots, golden['w1'])
  hidden = jax.nn.gelu(hidden + golden['b1'][:, None, None], approximate=True)
  outputs = jnp.einsum('ebph,ehd->ebpd', hidden, golden['w2'])
  return outputs + golden['b2'][:, None, None]


def mixed(golden, dispatch, combine, paddings=None):
  """Soft MoE on the golden tokens, from functions that make weights."""
  x = golden['x']
  logits = routing.slot_logits(x, golden['phi'], golden['scale'])
  slots = routing.mix_tokens(x, dispatch(logits, paddings))
  return routing.mix_slots(experts(golden, slots), combine(logits, paddings))


def test_identity_sends_each_token_to_the_expert_of_its_position(golden):
  got = layer_testing.apply(
      fixed_routing('identity'), fixed_variables(golden), golden['x']
  )
  for n in range(N):
    token = jnp.broadcast_to(golden['x'][None, :, n : n + 1], [E, B, 1, D])
    want = experts(golden, token)[n // P, :, 0]
    np.testing.assert_allclose(got[:, n], want, atol=1e-5)


@pytest.mark.parametrize('padded', [False, True])
def test_uniform_is_soft_moe_with_uniform_weights(golden, padded):
  paddings = jnp.zeros([B, N]).at[1, 5:].set(1) if padded else None
  got = layer_testing.apply(
      fixed_routing('uniform'), fixed_variables(golden), golden['x'], paddings
  )
  want = mixed(
      golden,
      routing.uniform_dispatch_weights,
      routing.uniform_combine_weights,
      paddings,
  )
  np.testing.assert_allclose(got, want, atol=1e-5)


@pytest.mark.parametrize(
    'fields, dispatch, combine',
    [
        (
            {'combine': 'uniform'},
            routing.dispatch_weights,
            routing.uniform_combine_weights,
        ),
        (
            {'dispatch': 'uniform'},
            routing.uniform_dispatch_weights,
            routing.combine_weights,
        ),
    ],
)
def test_soft_moe_with_one_side_uniform(golden, fields, dispatch, combine):
  layer = soft_moe(**fields)
  variables = soft_variables(golden)

  def loss(variables):
    y = layer_testing.apply(layer, variables, golden['x'])
    return jnp.sum(y * golden['c']), y

  gradient, y = jax.grad(loss, has_aux=True)(variables)
  np.testing.assert_allclose(y, mixed(golden, dispatch, combine), atol=1e-5)
  # The side that is left learns.
  assert gradient['params']['phi'].any()


@pytest.mark.parametrize('name', ['identity', 'uniform'])
def test_experts_start_independently_and_there_is_no_router(name):
  params = layer_testing.init(fixed_routing(name), jnp.zeros([1, N, D]))
  assert set(params['params']) == {'experts'}
  wi = params['params']['experts']['wi']
  assert (wi[0] != wi[1]).all()


@pytest.mark.parametrize('name', ['identity', 'uniform'])
def test_padded_rows_are_zero_without_gradient(golden, name):
  layer = fixed_routing(name)
  paddings = jnp.zeros([B, N]).at[0, 3:].set(1)

  def loss(x):
    y = layer_testing.apply(layer, fixed_variables(golden), x, paddings)
    return jnp.sum(jnp.square(y)), y

  gradient, y = jax.grad(loss, has_aux=True)(jnp.asarray(golden['x']))
  assert not y[0, 3:].any() and not gradient[0, 3:].any()
  assert y[0, :3].all() and y[1].all()


def test_identity_of_other_lengths_is_refused():
  layer = fixed_routing('identity')
  with pytest.raises(
      ValueError, match='15 tokens cannot fill 4 experts of 4 slots'
  ):
    layer_testing.init(layer, jnp.zeros([1, 15, D]))


def test_settings_that_cannot_be_are_refused():
  x = jnp.zeros([1, N, D])
  for layer, message in (
      (fixed_routing('random'), "'random'; use one of identity, uniform"),
      (fixed_routing('uniform', slots_per_expert=0), 'slots_per_expert is 0'),
      (soft_moe(dispatch='hard'), "dispatch is 'hard'; use one of soft, uni"),
      (soft_moe(dispatch='uniform', combine='uniform'), 'FixedRoutingMoE'),
  ):
    with pytest.raises(ValueError, match=message):
      layer_testing.init(layer, x)
