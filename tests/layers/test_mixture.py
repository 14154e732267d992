"""What every mixture of experts has, whatever its routing."""

from jax import numpy as jnp
import layer_testing
import numpy as np
from pax_softmoe.layers import mixture
import pytest


class Sum(mixture.MixtureOfExperts):
  """One slot of each expert: the sum of all tokens; all get their sum."""

  def _route(self, tokens, padded):
    del padded
    slots = jnp.broadcast_to(
        tokens.sum(axis=1)[None, :, None],
        (self.num_experts, len(tokens), 1, self.input_dims),
    )
    outputs = self._apply_experts(slots).sum(axis=(0, 2))
    return jnp.broadcast_to(outputs[:, None], tokens.shape)


def make(cls=Sum, **fields):
  fields = dict(input_dims=4, hidden_dims=8, num_experts=3) | fields
  return layer_testing.instantiate(cls, **fields)


def test_padded_tokens_reach_no_router_and_their_rows_are_zero():
  layer = make()
  x = jnp.arange(24.0).reshape(2, 3, 4) / 24
  variables = layer_testing.init(layer, x)
  paddings = jnp.array([[0, 0, 1], [0, 0, 0]])
  junk = x.at[0, 2].set(jnp.nan)
  got = layer_testing.apply(layer, variables, junk, paddings)
  want = layer_testing.apply(layer, variables, x[:1, :2])
  np.testing.assert_allclose(got[0, :2], want[0], rtol=1e-5)
  assert not got[0, 2].any()
  assert got[1].any(axis=-1).all()


def test_results_have_the_dtype_of_the_inputs():
  layer = make(fprop_dtype=jnp.bfloat16)
  x = jnp.ones([1, 2, 4], jnp.float32)
  variables = layer_testing.init(layer, x)
  assert layer_testing.apply(layer, variables, x).dtype == jnp.float32


@pytest.mark.parametrize('parts', [2, 3, 4])
def test_parts_of_a_batch_change_no_number(parts):
  x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3, 4)), jnp.float32)
  whole = make()
  variables = layer_testing.init(whole, x)
  want = layer_testing.apply(whole, variables, x)
  # Four images do not go in three parts.
  got = layer_testing.apply(make(exchange_parts=parts), variables, x)
  np.testing.assert_allclose(got, want, rtol=1e-6)


def test_a_mixture_without_a_router_says_which_have_one():
  layer = make(mixture.MixtureOfExperts)
  with pytest.raises(NotImplementedError, match='does not route; use SoftMoE'):
    layer_testing.init(layer, jnp.ones([1, 2, 4]))
