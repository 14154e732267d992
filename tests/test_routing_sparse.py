"""The sparse baselines' mathematics against the official code and by hand."""

import golden_data
import jax
from jax import numpy as jnp
import numpy as np
from pax_softmoe import routing_sparse
import pytest

# One group of four tokens and two experts. Three tokens prefer expert 0, the
# later the more.
GATES = np.array([[[0.6, 0.4], [0.7, 0.3], [0.9, 0.1], [0.2, 0.8]]])
EMPTY = 4
FIRST_PADDED = np.array([[1, 0, 0, 0]])


def choose_experts(*args, **kwargs):
  return routing_sparse.choose_experts(GATES, *args, **kwargs)[0].tolist()


def test_experts_serve_tokens_in_their_order():
  got = choose_experts(1, 2, batch_prioritized=False)
  assert got == [[0, 1], [3, EMPTY]]


def test_experts_serve_tokens_of_high_gate_first_when_prioritized():
  got = choose_experts(1, 2, batch_prioritized=True)
  assert got == [[2, 1], [3, EMPTY]]


def test_second_choices_come_after_all_first_choices():
  # Token 3 would be served before tokens 0 and 1, were it its first choice.
  got = choose_experts(2, 3, batch_prioritized=True)
  assert got == [[2, 1, 0], [3, 2, 1]]
  got = choose_experts(2, 3, batch_prioritized=False)
  assert got == [[0, 1, 2], [3, 0, 1]]


def test_room_for_all_drops_none():
  got = choose_experts(2, 4, batch_prioritized=False)
  assert got == [[0, 1, 2, 3], [3, 0, 1, 2]]


@pytest.mark.parametrize('batch_prioritized', [True, False])
def test_padded_tokens_take_no_room(batch_prioritized):
  got = choose_experts(
      1, 2, batch_prioritized=batch_prioritized, paddings=FIRST_PADDED
  )
  served = [2, 1] if batch_prioritized else [1, 2]
  assert got == [served, [3, EMPTY]]


def served_one_by_one(gates, num_selected, capacity, prioritized, paddings):
  """Returns the tokens of each expert, found by serving one at a time."""
  num_tokens, num_experts = gates.shape
  order = range(num_tokens)
  if prioritized:
    order = sorted(order, key=lambda m: -gates[m].max())
  wishes = np.argsort(-gates, axis=1, kind='stable')
  slots = [[] for _ in range(num_experts)]
  for k in range(num_selected):
    for m in order:
      slot = slots[wishes[m, k]]
      if not paddings[m] and len(slot) < capacity:
        slot.append(m)
  return [slot + [num_tokens] * (capacity - len(slot)) for slot in slots]


@pytest.mark.parametrize('prioritized', [True, False])
@pytest.mark.parametrize('num_selected', [1, 2])
def test_equals_serving_one_by_one(num_selected, prioritized):
  rng = np.random.default_rng(num_selected)
  # Multiples of 1/8, so that there are equal gates.
  gates = rng.integers(0, 8, size=[3, 20, 5]) / 8
  paddings = rng.random([3, 20]) < 0.2
  got = routing_sparse.choose_experts(
      gates, num_selected, 4, batch_prioritized=prioritized, paddings=paddings
  )
  for group in range(3):
    want = served_one_by_one(
        gates[group], num_selected, 4, prioritized, paddings[group]
    )
    assert got[group].tolist() == want


def test_experts_pick_tokens_of_highest_gate():
  got = routing_sparse.choose_tokens(GATES, 2)
  assert got[0].tolist() == [[2, 1], [3, 0]]


def test_experts_pick_the_earlier_of_equal_tokens():
  got = routing_sparse.choose_tokens(np.full([1, 4, 2], 0.5), 3)
  assert got[0].tolist() == [[0, 1, 2], [0, 1, 2]]


def test_experts_pick_no_padded_token():
  paddings = np.array([[0, 0, 1, 1]])
  got = routing_sparse.choose_tokens(GATES, 3, paddings)
  assert got[0].tolist() == [[1, 0, EMPTY], [0, 1, EMPTY]]


def test_slots_hold_tokens_and_tokens_their_weighted_sum():
  inputs = np.array([[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]]])
  tokens = np.array([[[2, 1], [2, EMPTY]]])
  slots = routing_sparse.gather_tokens(inputs, tokens)
  assert slots.shape == (2, 1, 2, 2)
  np.testing.assert_array_equal(
      slots[:, 0], [[[5, 6], [3, 4]], [[5, 6], [0, 0]]]
  )
  weights = routing_sparse.slot_weights(GATES, tokens)
  np.testing.assert_allclose(weights, [[[0.9, 0.7], [0.1, 0.0]]])
  outputs = routing_sparse.scatter_slots(slots, tokens, weights, 4)
  np.testing.assert_allclose(
      outputs, [[[0, 0], [2.1, 2.8], [5, 6], [0, 0]]], rtol=1e-6
  )
  count = routing_sparse.experts_per_token(tokens, 4)
  assert count.tolist() == [[0, 1, 2, 0]]


def by_index(inputs, gates, tokens):
  slots = routing_sparse.gather_tokens(inputs, tokens)
  weights = routing_sparse.slot_weights(gates, tokens)
  return routing_sparse.scatter_slots(
      jnp.sin(slots), tokens, weights, inputs.shape[1]
  )


def by_product(inputs, gates, tokens):
  """What `by_index` does, as the official einsums do it."""
  hot = jax.nn.one_hot(tokens, inputs.shape[1])
  slots = jnp.einsum('gecm,gmd->egcd', hot, inputs)
  combine = jnp.einsum('gecm,gme->gmec', hot, gates)
  return jnp.einsum('gmec,egcd->gmd', combine, jnp.sin(slots))


def test_indices_equal_products_with_one_hot_arrays():
  rng = np.random.default_rng(0)
  inputs = rng.normal(size=[2, 12, 3])
  gates = jax.nn.softmax(rng.normal(size=[2, 12, 4]))
  tokens = routing_sparse.choose_tokens(gates, 5).at[:, 1, 3].set(12)
  cotangent = rng.normal(size=[2, 12, 3])
  results = []
  for function in (by_index, by_product):
    y, backward = jax.vjp(
        lambda x, g, f=function: f(x, g, tokens), inputs, gates
    )
    results.append((y, *backward(cotangent.astype(y.dtype))))
  for got, want in zip(*results):
    assert golden_data.distance(got, want) < 1e-6


@pytest.mark.parametrize(
    'choices, experts, factor, rounding, multiple, want',
    [
        (1568, 32, 1.0, 'ceil', 1, 49),
        (1568, 32, 1.0, 'ceil', 4, 52),
        (1568, 32, 1.125, 'ceil', 1, 56),
        (196, 128, 1.0, 'round', 1, 2),
        (10, 4, 1.0, 'round', 1, 2),
        (10, 4, 1.0, 'ceil', 1, 3),
        (49, 128, 1.0, 'round', 1, 1),
        (49, 128, 1.0, 'ceil', 4, 4),
    ],
)
def test_capacity(choices, experts, factor, rounding, multiple, want):
  got = routing_sparse.expert_capacity(
      choices, experts, factor, rounding=rounding, multiple_of=multiple
  )
  assert got == want


def test_losses_of_a_hand_worked_example():
  # Mean gates are 0.6 and 0.4, of which the squared variation is
  # (0.1 / 0.5)^2; first choices are 3/4 and 1/4.
  np.testing.assert_allclose(
      routing_sparse.importance_loss(GATES), [0.04], rtol=1e-5
  )
  np.testing.assert_allclose(
      routing_sparse.gshard_loss(GATES), [2 * (0.45 + 0.1)], rtol=1e-6
  )
  # Each token is sure of its first choice: chances are 3/4 and 1/4 as well.
  load = routing_sparse.load_loss(GATES, GATES, 1e-3, 1)
  # But for the chosen expert itself, which stands on the threshold: 1/2.
  np.testing.assert_allclose(load, [(0.125 / 0.25) ** 2], rtol=1e-6)


@pytest.mark.parametrize('num_selected', [1, 2])
def test_losses_equal_official_code(num_selected):
  golden = golden_data.load(f'tc_k{num_selected}_bpr_2x32x8_E8_h16')
  logits = golden['x'] @ golden['wg']
  gates = jax.nn.softmax(logits)
  noise_stddev = 1 / 8
  noisy = logits + golden['aux_noise']
  got = {
      'aux_importance': routing_sparse.importance_loss(gates),
      'aux_gshard': routing_sparse.gshard_loss(gates),
      'aux_load': routing_sparse.load_loss(
          logits, noisy, noise_stddev, num_selected
      ),
  }
  for key, value in got.items():
    assert golden_data.distance(value, golden[key]) < 1e-5, key


def losses(logits, paddings=None):
  gates = jax.nn.softmax(logits)
  noisy = logits + 0.1 * jnp.cos(10 * logits)
  return jnp.stack([
      routing_sparse.importance_loss(gates, paddings),
      routing_sparse.gshard_loss(gates, paddings),
      routing_sparse.load_loss(logits, noisy, 0.1, 2, paddings),
  ])


def test_padded_tokens_are_in_no_loss():
  logits = jnp.asarray(np.random.default_rng(0).normal(size=[2, 9, 4]))
  paddings = jnp.zeros([2, 9]).at[:, 6:].set(1)
  np.testing.assert_allclose(
      losses(logits, paddings), losses(logits[:, :6]), rtol=1e-5
  )


def test_a_fully_padded_group_has_no_loss_and_a_finite_gradient():
  logits = jnp.asarray(np.random.default_rng(0).normal(size=[2, 9, 4]))
  paddings = jnp.zeros([2, 9]).at[1].set(1)
  assert not losses(logits, paddings)[:, 1].any()
  gradient = jax.grad(lambda x: losses(x, paddings).sum())(logits)
  assert jnp.isfinite(gradient).all()
  assert gradient[0].any() and not gradient[1].any()


def test_load_loss_of_scores_in_half_precision():
  # JAX' normal distribution takes none.
  scores = jax.random.normal(jax.random.PRNGKey(0), [2, 16, 4])
  noisy = scores + 0.25 * jax.random.normal(jax.random.PRNGKey(1), [2, 16, 4])
  want = routing_sparse.load_loss(scores, noisy, 0.25, 2)
  halves = [x.astype(jnp.bfloat16) for x in (scores, noisy)]
  got = routing_sparse.load_loss(*halves, 0.25, 2)
  np.testing.assert_allclose(got, want, rtol=0.1)
