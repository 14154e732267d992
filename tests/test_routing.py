"""Soft MoE's mathematics against the official code and worked examples."""

import golden_data
import jax
from jax import numpy as jnp
import numpy as np
from pax_softmoe import routing
import pytest
import versions

# One sequence of four tokens, three dims, two experts of one slot.
TOKENS = np.array(
    [[[3.0, 4.0, 0.0], [0.0, 0.0, 2.0], [0.0, 0.0, 0.0], [-6.0, -8.0, 0.0]]]
)
SLOTS = np.array([[[3.0], [0.0]], [[4.0], [0.0]], [[0.0], [5.0]]])


def soft_moe(p, inputs, paddings=None):
  """Soft MoE from the functions under test and plain einsums."""
  logits = routing.slot_logits(inputs, p['phi'], p['scale'])
  slots = routing.mix_tokens(inputs, routing.dispatch_weights(logits, paddings))
  hidden = jnp.einsum('ebpd,edh->ebph', slots, p['wi'])
  hidden = jax.nn.gelu(hidden + p['bi'][:, None, None], approximate=True)
  outputs = jnp.einsum('ebph,ehd->ebpd', hidden, p['wo'])
  outputs += p['bo'][:, None, None]
  return routing.mix_slots(outputs, routing.combine_weights(logits, paddings))


def parameters(golden):
  weights = golden_data.expert_weights(golden)
  return {'phi': golden['phi'], 'scale': golden['scale'], **weights}


def outputs_and_gradients(golden):
  p = jax.tree_util.tree_map(jnp.asarray, parameters(golden))
  x, c = jnp.asarray(golden['x']), jnp.asarray(golden['c'])
  gradient = jax.grad(lambda p, x: jnp.sum(soft_moe(p, x) * c), argnums=(0, 1))
  gp, gx = gradient(p, x)
  got = {'y': soft_moe(p, x), 'gx': gx, 'gphi': gp['phi']}
  for ours, theirs in {'wi': 'w1', 'bi': 'b1', 'wo': 'w2', 'bo': 'b2'}.items():
    got['g' + theirs] = gp[ours]
  return got, gp['scale']


def assert_equals_golden(name, tolerance):
  golden = golden_data.load(name)
  got, scale_gradient = outputs_and_gradients(golden)
  for key, value in got.items():
    assert golden_data.distance(value, golden[key]) < tolerance, key
  # The gradient of the scale is a sum that cancels; its size is that of its
  # terms.
  terms = np.sum(np.abs(golden['phi'] * golden['gphi'])) / golden['scale']
  assert abs(scale_gradient - golden['gscale']) / terms < tolerance


def test_equals_official_code_in_float64():
  with versions.enable_x64():
    assert_equals_golden('soft_2x16x8_n4p4_h16_f64_norm', 1e-12)


@pytest.mark.parametrize(
    'name', ['soft_2x16x8_n4p4_h16_f32_norm', 'soft_tiny_eps_f32_norm']
)
def test_equals_official_code_in_float32(name):
  assert_equals_golden(name, 1e-5)


def test_equals_official_code_with_its_bfloat16_rounding():
  assert_equals_golden('soft_2x16x8_n4p4_h16_official', 5e-3)


def test_weights_equal_official_code():
  golden = golden_data.load('soft_2x16x8_n4p4_h16_f32_norm')
  logits = routing.slot_logits(golden['x'], golden['phi'], golden['scale'])
  dispatch = routing.dispatch_weights(logits)
  combine = routing.combine_weights(logits)
  np.testing.assert_allclose(dispatch, golden['dispatch'], rtol=1e-5)
  np.testing.assert_allclose(combine, golden['combine'], rtol=1e-5)


def test_logits_are_cosines_times_scale():
  logits = routing.slot_logits(TOKENS, SLOTS, jnp.float32(2.0))
  want = [[2, 0], [0, 2], [0, 0], [-2, 0]]
  np.testing.assert_allclose(logits[0, :, :, 0], want, atol=1e-5)


def test_logits_without_normalization_are_products():
  logits = routing.slot_logits(TOKENS, SLOTS, jnp.float32(2.0), normalize=False)
  want = [[50, 0], [0, 20], [0, 0], [-100, 0]]
  np.testing.assert_allclose(logits[0, :, :, 0], want)


def test_weights_of_a_hand_worked_example():
  # exp of these is 1, 2, 3 / 4, 2, 1: sums that can be done in the head.
  logits = jnp.log(jnp.array([[1.0, 4.0], [2.0, 2.0], [3.0, 1.0]]))
  logits = logits.reshape(1, 3, 2, 1)
  dispatch = routing.dispatch_weights(logits)[0, :, :, 0]
  combine = routing.combine_weights(logits)[0, :, :, 0]
  np.testing.assert_allclose(
      dispatch, [[1 / 6, 4 / 7], [2 / 6, 2 / 7], [3 / 6, 1 / 7]], rtol=1e-6
  )
  np.testing.assert_allclose(
      combine, [[1 / 5, 4 / 5], [1 / 2, 1 / 2], [3 / 4, 1 / 4]], rtol=1e-6
  )


def test_mixtures_of_a_hand_worked_example():
  weights = jnp.array([[0.5, 0.0], [0.5, 0.0], [0.0, 1.0], [0.0, 0.0]])
  weights = weights.reshape(1, 4, 2, 1)
  slots = routing.mix_tokens(TOKENS, weights)
  assert slots.shape == (2, 1, 1, 3)
  np.testing.assert_allclose(slots[:, 0, 0], [[1.5, 2, 1], [0, 0, 0]])
  tokens = routing.mix_slots(slots, weights)
  np.testing.assert_allclose(
      tokens[0], [[0.75, 1, 0.5], [0.75, 1, 0.5], [0, 0, 0], [0, 0, 0]]
  )


@pytest.fixture(name='random_case')
def _random_case():
  golden = golden_data.load('soft_2x16x8_n4p4_h16_f32_norm')
  return parameters(golden), golden['x']


def test_weights_sum_to_one(random_case):
  p, x = random_case
  logits = routing.slot_logits(x, p['phi'], p['scale'])
  dispatch = routing.dispatch_weights(logits).sum(axis=1)
  combine = routing.combine_weights(logits).sum(axis=(2, 3))
  np.testing.assert_allclose(dispatch, np.ones([2, 4, 4]), rtol=1e-5)
  np.testing.assert_allclose(combine, np.ones([2, 16]), rtol=1e-5)


def test_permuted_tokens_give_permuted_outputs(random_case):
  p, x = random_case
  order = np.random.default_rng(0).permutation(16)
  got = soft_moe(p, x[:, order])
  np.testing.assert_allclose(got, soft_moe(p, x)[:, order], atol=1e-5)


def test_a_sequence_does_not_depend_on_the_rest_of_the_batch(random_case):
  p, x = random_case
  alone = soft_moe(p, x[1:])
  np.testing.assert_allclose(alone, soft_moe(p, x)[1:], atol=1e-6)


def test_padded_tokens_change_nothing(random_case):
  p, x = random_case
  garbage = np.random.default_rng(1).normal(size=[2, 5, 8]).astype(np.float32)
  padded = np.concatenate([x, 1e3 * garbage], axis=1)
  paddings = np.concatenate([np.zeros([2, 16]), np.ones([2, 5])], axis=1)
  got = soft_moe(p, padded, paddings)
  np.testing.assert_allclose(got[:, :16], soft_moe(p, x), atol=1e-5)
  assert not got[:, 16:].any()


def test_padded_tokens_have_no_gradient(random_case):
  p, x = random_case
  paddings = np.zeros([2, 16])
  paddings[0, 3:] = 1
  gradient = jax.grad(lambda x: jnp.square(soft_moe(p, x, paddings)).sum())(x)
  assert not gradient[0, 3:].any()
  assert jnp.abs(gradient[0, :3]).min() > 0


def test_a_fully_padded_sequence_is_zero_and_has_a_finite_gradient(random_case):
  p, x = random_case
  paddings = np.ones([2, 16])
  gradient = jax.grad(lambda x: jnp.square(soft_moe(p, x, paddings)).sum())(x)
  assert not soft_moe(p, x, paddings).any()
  assert np.isfinite(gradient).all()


def test_tokens_of_zeros_are_safe(random_case):
  p, x = random_case
  gradient = jax.grad(lambda x: jnp.square(soft_moe(p, x)).sum())(0 * x)
  assert np.isfinite(gradient).all()


def test_uniform_weights_average():
  logits = jnp.ones([1, 4, 2, 3])
  paddings = jnp.array([[0, 0, 1, 0]])
  dispatch = routing.uniform_dispatch_weights(logits, paddings)
  combine = routing.uniform_combine_weights(logits, paddings)
  want = np.array([1, 1, 0, 1]).reshape(1, 4, 1, 1) * np.ones([1, 4, 2, 3])
  np.testing.assert_allclose(dispatch, want / 3, rtol=1e-6)
  np.testing.assert_allclose(combine, want / 6, rtol=1e-6)
