"""Attention and LayerNorm against those of Flax, which the paper's code uses."""

from flax import linen as nn
import flax.linen
import jax
from jax import numpy as jnp
import layer_testing
import numpy as np
from pax_softmoe.layers import attention
from pax_softmoe.layers import feed_forward
import pytest

B, N, D, A = 3, 7, 24, 4


def _draw(*shape, seed=0):
  return jax.random.normal(jax.random.PRNGKey(seed), shape)


def _assert_close(got, wanted):
  """Compares trees of arrays, by the norm of the difference."""
  leaves, structure = jax.tree_util.tree_flatten(wanted)
  assert jax.tree_util.tree_structure(got) == structure
  for x, y in zip(jax.tree_util.tree_leaves(got), leaves):
    # Sums of this many terms of size 1 may cancel: a bias of keys moves all
    # scores of a query alike, so that its gradient is zero.
    assert np.linalg.norm(x - y) < 1e-5 * max(B * N, np.linalg.norm(y))


def _with_gradients(function, weights, inputs):
  outputs, pull = jax.vjp(function, weights, inputs)
  return outputs, *pull(_draw(*outputs.shape, seed=9))


@pytest.mark.parametrize('qk_norm', [True, False])
def test_attention_is_that_of_flax(qk_norm):
  theta = {f'w{x}': _draw(D, A, D // A, seed=i) for i, x in enumerate('qkv')}
  theta |= {f'b{x}': _draw(A, D // A, seed=i + 3) for i, x in enumerate('qkv')}
  theta |= {'wo': _draw(A, D // A, D, seed=6), 'bo': _draw(D, seed=7)}
  if qk_norm:
    theta |= {f'{x}_scale': 1 + _draw(D // A, seed=8) for x in 'qk'}
  ours = layer_testing.instantiate(
      attention.SelfAttention, input_dims=D, num_heads=A, qk_norm=qk_norm
  )
  reference = nn.MultiHeadDotProductAttention(A, normalize_qk=qk_norm)

  def flax(theta, inputs):
    names = {'query': 'q', 'key': 'k', 'value': 'v', 'out': 'o'}
    params = {
        name: {'kernel': theta[f'w{x}'], 'bias': theta[f'b{x}']}
        for name, x in names.items()
    }
    if qk_norm:
      params['query_ln'] = {'scale': theta['q_scale']}
      params['key_ln'] = {'scale': theta['k_scale']}
    return reference.apply({'params': params}, inputs)

  inputs = _draw(B, N, D, seed=10) / D**0.5
  got = _with_gradients(
      lambda theta, x: layer_testing.apply(ours, {'params': theta}, x),
      theta,
      inputs,
  )
  _assert_close(got, _with_gradients(flax, theta, inputs))


def test_attention_of_scores_beyond_the_range_of_exp():
  q = jnp.full([1, 1, 1, 2], 30.0)
  k = jnp.array([[[[10.0, -10.0, 9.0]]]])
  v = jnp.array([[[[1.0, 2.0, 4.0]]]])
  got = attention.attend(q, k, v)
  # Scores of 300, -300 and 270: the first key takes all but e^-30.
  np.testing.assert_allclose(got, np.ones([1, 1, 1, 2]), rtol=1e-6)


def test_attention_equals_flax_with_qk_norm():
  """Against flax' attention, which is what the official model uses."""
  x = jax.random.normal(jax.random.PRNGKey(0), [2, 5, 12])
  reference = flax.linen.MultiHeadDotProductAttention(
      num_heads=3, normalize_qk=True
  )
  theirs = reference.init(jax.random.PRNGKey(1), x)['params']
  # Move every weight away from its start, biases and scales too.
  theirs = jax.tree_util.tree_map(
      lambda w: w + 0.3 * jnp.cos(jnp.arange(w.size)).reshape(w.shape), theirs
  )
  ours = {'wo': theirs['out']['kernel'], 'bo': theirs['out']['bias']}
  for letter, name in (('q', 'query'), ('k', 'key'), ('v', 'value')):
    ours['w' + letter] = theirs[name]['kernel']
    ours['b' + letter] = theirs[name]['bias']
  for letter, name in (('q', 'query_ln'), ('k', 'key_ln')):
    ours[letter + '_scale'] = theirs[name]['scale']
  layer = layer_testing.instantiate(
      attention.SelfAttention, input_dims=12, num_heads=3
  )
  got = layer_testing.apply(layer, {'params': ours}, x)
  want = reference.apply({'params': theirs}, x)
  np.testing.assert_allclose(got, want, atol=2e-6)


def test_heads_that_do_not_divide_the_dims_are_refused():
  layer = layer_testing.instantiate(
      attention.SelfAttention, input_dims=10, num_heads=3
  )
  with pytest.raises(ValueError, match='10 model dims cannot be split into 3'):
    layer_testing.init(layer, jnp.zeros([1, 2, 10]))


def test_layer_norm_is_that_of_flax():
  theta = {'scale': 1 + _draw(D), 'bias': _draw(D, seed=1)}
  ours = layer_testing.instantiate(feed_forward.LayerNorm, dim=D)
  reference = nn.LayerNorm(epsilon=1e-6)
  inputs = 5 + 3 * _draw(B, N, D, seed=2)
  got, wanted = (
      _with_gradients(layer, theta, inputs)
      for layer in (
          lambda theta, x: layer_testing.apply(ours, {'params': theta}, x),
          lambda theta, x: reference.apply({'params': theta}, x),
      )
  )
  _assert_close(got, wanted)
