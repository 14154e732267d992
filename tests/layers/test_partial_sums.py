"""Products with gradients in parts, against those of plain autodiff."""

import jax
from jax import numpy as jnp
import numpy as np
from pax_softmoe.layers import partial_sums
import pytest

NAMES = ('replica', 'data', 'expert', 'mdl')
EQUATION = 'ebpd,edh->ebph'
TOKENS = ['expert', ('replica', 'data'), None, None]
WEIGHTS = ['expert', None, 'data']


def at(mesh_shape=(1, 2, 2, 1), inputs=TOKENS, weights=WEIGHTS, outputs=TOKENS):
  return partial_sums.place(inputs, weights, outputs, mesh_shape, NAMES)


def arrays(images=4, dtype=jnp.float32):
  rng = np.random.default_rng(0)
  x = jnp.asarray(rng.normal(size=(2, images, 3, 5)), dtype)
  return x, jnp.asarray(rng.normal(size=(2, 5, 6)), dtype)


def loss(place, equation=EQUATION):
  def of(x, w):
    return jnp.sum(jnp.sin(partial_sums.einsum(equation, x, w, place)))

  return jax.value_and_grad(of, argnums=(0, 1))


@pytest.mark.parametrize('mesh_shape', [(1, 2, 2, 1), (2, 2, 1, 1)])
def test_values_and_gradients_are_those_of_einsum(mesh_shape):
  x, w = arrays()
  got = loss(at(mesh_shape))(x, w)
  want = loss(None)(x, w)
  for a, b in zip(
      jax.tree_util.tree_leaves(got), jax.tree_util.tree_leaves(want)
  ):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_parts_are_added_in_float32():
  # Parts of four ones: bfloat16 stops counting by fours at 1024.
  x = jnp.ones((1, 2048, 1, 1), jnp.bfloat16)
  w = jnp.zeros((1, 1, 1), jnp.bfloat16)
  place = at((1, 512, 1, 1))
  gradient = jax.grad(
      lambda w: jnp.sum(partial_sums.einsum(EQUATION, x, w, place))
  )(w)
  assert gradient.dtype == jnp.bfloat16
  assert float(gradient[0, 0, 0]) == 2048


def in_parts(place, images=4):
  """Returns whether the batch of 4 becomes 2 parts of 2."""
  return '[2,2,2,3,5]' in str(jax.make_jaxpr(loss(place))(*arrays(images)))


def test_gradients_are_in_parts_only_where_that_serves():
  assert in_parts(at())
  # No mesh; nothing shared; one chip along the axis; 3 images for 2 chips.
  assert not in_parts(None)
  assert not in_parts(at(weights=['expert', None, None]))
  assert not in_parts(at((1, 1, 4, 1)))
  assert not in_parts(at(), images=3)
  # Tensor parallelism: the inputs' batch is over `mdl`, that of outputs is not.
  tokens = ['expert', ('data', 'mdl'), None, None]
  hidden = ['expert', 'data', None, 'mdl']
  split = ['expert', None, 'mdl']
  assert not in_parts(at((1, 1, 2, 2), tokens, split, hidden))
