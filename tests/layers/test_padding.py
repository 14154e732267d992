"""What padded tokens hold reaches nothing: not the result, not a gradient."""

import jax
from jax import numpy as jnp
import layer_testing
import numpy as np
from pax_softmoe import layers
from pax_softmoe import routing
from pax_softmoe import routing_sparse
from praxis import pax_fiddle
import pytest

B, N, D, E, H = 3, 8, 4, 4, 6

MIXTURES = {
    'soft': (layers.SoftMoE, {'slots_per_expert': 2}),
    'soft unnormalized': (layers.SoftMoE, {'normalize': False}),
    'soft/uniform': (layers.SoftMoE, {'combine': 'uniform'}),
    'uniform/soft': (layers.SoftMoE, {'dispatch': 'uniform'}),
    'tokens choice': (
        layers.TokensChoiceMoE,
        {'num_selected_experts': 2, 'gshard_loss_weight': 1.0},
    ),
    'experts choice': (layers.ExpertsChoiceMoE, {'group_size': 3}),
    'identity': (layers.FixedRoutingMoE, {'slots_per_expert': 2}),
    'uniform': (layers.FixedRoutingMoE, {'routing': 'uniform'}),
}
EACH = pytest.mark.parametrize('name', MIXTURES)
POLICIES = ('pre', 'primer_hybrid', 'post', 'post_skip')


def mixture(name):
  cls, fields = MIXTURES[name]
  return layer_testing.instantiate(
      cls, input_dims=D, hidden_dims=H, num_experts=E, **fields
  )


def feed_forward(policy):
  moe = pax_fiddle.Config(layers.SoftMoE, num_experts=E, slots_per_expert=2)
  return layer_testing.instantiate(
      layers.MoEFeedForward,
      input_dims=D,
      hidden_dims=H,
      moe_tpl=moe,
      norm_policy=policy,
  )


def tokens():
  return jax.random.normal(jax.random.PRNGKey(0), [B, N, D])


def paddings():
  """The end of one sequence, all but the first of another."""
  return jnp.zeros([B, N]).at[1, 5:].set(1).at[2, 1:].set(1)


def run(layer, variables, x, paddings):
  """Returns outputs, auxiliary losses, and gradients of both together."""

  @jax.jit
  @jax.value_and_grad
  def loss(arguments):
    y, state = layer.apply(
        {'params': arguments[0]},
        arguments[1],
        paddings,
        mutable=['aux_loss', 'summaries'],
        rngs={'random': jax.random.PRNGKey(1)},
    )
    losses = jax.tree_util.tree_leaves(
        state.get('aux_loss', {}), is_leaf=lambda x: hasattr(x, 'weight')
    )
    return jnp.sum(jnp.sin(y)) + sum(loss.value for loss in losses)

  value, gradients = loss((variables['params'], x))
  y = layer_testing.apply(layer, variables, x, paddings, seed=1)
  return y, value, gradients


def assert_padding_is_out(layer, junk):
  padded = paddings() > 0
  clean = jnp.where(padded[..., None], 0, tokens())
  variables = layer_testing.init(layer, clean)
  want = run(layer, variables, clean, paddings())
  dirty = jnp.where(padded[..., None], junk, tokens())
  got = run(layer, variables, dirty, paddings())
  for g, w in zip(*map(jax.tree_util.tree_leaves, (got, want)), strict=True):
    assert np.isfinite(w).all() and np.any(w)
    np.testing.assert_array_equal(g, w)
  y, _, (_, gx) = got
  assert not y[padded].any() and not gx[padded].any()
  assert np.abs(y[~padded]).sum(-1).any() and np.abs(gx[~padded]).any()


@EACH
@pytest.mark.parametrize('junk', [np.nan, np.inf, -np.inf, 3e38, 7.0])
def test_what_padded_tokens_hold_reaches_nothing(name, junk):
  assert_padding_is_out(mixture(name), junk)


@pytest.mark.parametrize('policy', POLICIES)
def test_nor_does_it_around_the_residual(policy):
  assert_padding_is_out(feed_forward(policy), np.nan)


@EACH
@pytest.mark.parametrize('dtype', [bool, np.int32, np.uint8, jnp.bfloat16])
def test_paddings_may_be_of_any_real_dtype(name, dtype):
  layer, x = mixture(name), tokens()
  variables = layer_testing.init(layer, x)
  want = layer_testing.apply(layer, variables, x, paddings())
  got = layer_testing.apply(layer, variables, x, paddings().astype(dtype))
  np.testing.assert_array_equal(got, want)
  assert not np.array_equal(got, layer_testing.apply(layer, variables, x))


@EACH
def test_sequences_of_nothing_but_padding_are_zero(name):
  layer, x = mixture(name), jnp.full([B, N, D], np.nan)
  variables = layer_testing.init(layer, tokens())
  y, value, gradients = run(layer, variables, x, jnp.ones([B, N]))
  assert not y.any() and value == 0
  for leaf in jax.tree_util.tree_leaves(gradients):
    assert np.isfinite(leaf).all()


@EACH
@pytest.mark.parametrize(
    'shape', [[1, N], [B, 1], [N], [B, N, 1], [N, B], [B, N + 1], []]
)
def test_paddings_of_another_shape_are_refused(name, shape):
  layer, x = mixture(name), tokens()
  variables = layer_testing.init(layer, x)
  with pytest.raises(ValueError) as caught:
    layer_testing.apply(layer, variables, x, jnp.zeros(shape))
  assert str(caught.value) == (
      f'{type(layer).__name__}: paddings are {shape}; they must have one number'
      ' for each token, [3, 8]'
  )


@EACH
@pytest.mark.parametrize(
    'paddings, dtype',
    [
        (np.zeros([B, N], np.complex64), 'complex64'),
        (np.full([B, N], 'no'), '<U2'),
        ([['0'] * N] * B, '<U1'),
        (np.full([B, N], None), 'object'),
    ],
)
def test_paddings_that_are_no_real_numbers_are_refused(name, paddings, dtype):
  layer, x = mixture(name), tokens()
  variables = layer_testing.init(layer, x)
  with pytest.raises(ValueError) as caught:
    layer_testing.apply(layer, variables, x, paddings)
  assert str(caught.value) == (
      f'{type(layer).__name__}: paddings are {dtype}; they must be real'
      ' numbers, 1 for a padded token'
  )


def test_the_feed_forward_layer_refuses_them_too():
  layer, x = feed_forward('pre'), tokens()
  variables = layer_testing.init(layer, x)
  with pytest.raises(ValueError, match=r'MoEFeedForward: paddings are \[1, 8'):
    layer_testing.apply(layer, variables, x, jnp.zeros([1, N]))


@pytest.mark.parametrize(
    'weights',
    [
        lambda p: routing.dispatch_weights(jnp.zeros([B, N, E, 2]), p),
        lambda p: routing.combine_weights(jnp.zeros([B, N, E, 2]), p),
        lambda p: routing_sparse.choose_tokens(jnp.zeros([B, N, E]), 2, p),
        lambda p: routing_sparse.choose_experts(
            jnp.zeros([B, N, E]), 1, 2, batch_prioritized=True, paddings=p
        ),
        lambda p: routing_sparse.importance_loss(jnp.zeros([B, N, E]), p),
    ],
)
def test_the_mathematics_broadcast_no_paddings(weights):
  with pytest.raises(
      ValueError, match=r'paddings are \[1, 8\]; they must have'
  ):
    weights(jnp.zeros([1, N]))
