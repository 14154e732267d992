"""The mathematics of the sparse baselines as pure functions on arrays.

Both keep or drop whole tokens where Soft MoE mixes them (paper, section 3, and
`moe.py` and `routing.py` of the official code). With G the gates, a softmax
over experts of `X @ gate`,

    Tokens Choice     every token picks its K experts of highest gate; an expert
                      serves the first C that ask and drops the rest
    Experts Choice    every expert picks its C tokens of highest gate

and either way the output of a token is the sum of what its experts made of it,
each weighted with its gate as it is, not normalized over the chosen ones.

Both end in one table: which token each of an expert's C slots holds. Tokens go
to slots and back by that index (gather, then scatter-add), so that no array
spans tokens, experts and slots at once.

Letters, used in all names of shapes:
  G groups of tokens routed together, M tokens of a group, D model dims,
  E experts, C slots of an expert per group (its capacity), K choices.

No function here knows of meshes, Praxis or parameters.
"""

import math

import jax
from jax import numpy as jnp
from pax_softmoe import routing

JTensor = jax.Array

ROUNDINGS = {'ceil': math.ceil, 'round': round}


def expert_capacity(
    num_choices: int,
    num_experts: int,
    capacity_factor: float,
    *,
    rounding: str = 'ceil',
    multiple_of: int = 1,
) -> int:
  """Returns how many tokens of a group each expert takes.

  As `compute_capacity` in the official `moe.py`, which refuses what rounds to
  zero; here every expert takes at least one.

  Args:
    num_choices: tokens of a group, times the choices of each.
    num_experts: E.
    capacity_factor: room per choice; at 1 balanced choices just fit.
    rounding: a name of `ROUNDINGS`; 'round' takes halves to even.
    multiple_of: what the result is rounded up to a multiple of.

  Returns:
    C.
  """
  exact = num_choices * capacity_factor / num_experts
  capacity = max(1, ROUNDINGS[rounding](exact))
  return -(-capacity // multiple_of) * multiple_of


def choose_experts(
    gates: JTensor,
    num_selected: int,
    capacity: int,
    *,
    batch_prioritized: bool,
    paddings: JTensor | None = None,
) -> JTensor:
  """Lets every token pick experts (Tokens Choice).

  All first choices are served before any second choice. Among equal choices
  earlier tokens come first or, with batch-prioritized routing, tokens of higher
  first gate (V-MoE, arXiv 2106.05974, section 4).

  Args:
    gates: [G, M, E].
    num_selected: K.
    capacity: C; choices beyond it are dropped.
    batch_prioritized: whether tokens are served by their gate.
    paddings: [G, M], 1 for a padded token, or None for none.

  Returns:
    [G, E, C] int32, the token in each slot, M for an empty slot.
  """
  num_groups, num_tokens, num_experts = gates.shape
  gates = jax.lax.stop_gradient(gates)
  top_gates, experts = jax.lax.top_k(gates, num_selected)
  if paddings is not None:
    # Padded tokens ask an expert beyond the last.
    padded = routing.padding_mask(paddings, gates.shape[:2])[..., None]
    experts = jnp.where(padded, num_experts, experts)
  # Choice k of token m has the index k * M + m.
  asked = jnp.swapaxes(experts, 1, 2).reshape(num_groups, -1)
  choices = jnp.broadcast_to(jnp.arange(num_selected * num_tokens), asked.shape)
  keys = [asked, choices // num_tokens]
  if batch_prioritized:
    keys.append(jnp.tile(-top_gates[..., 0], (1, num_selected)))
  # Sorted, the choices of each expert lie together in the order of service.
  choices = jax.lax.sort([*keys, choices], num_keys=len(keys))[-1]

  requests = jnp.sum(asked[..., None] == jnp.arange(num_experts), axis=1)
  first = jnp.cumsum(requests, axis=-1) - requests
  slots = jnp.arange(capacity)
  places = (first[..., None] + slots).reshape(num_groups, -1)
  tokens = jnp.take_along_axis(choices, places, axis=1, mode='clip')
  tokens = tokens.reshape(num_groups, num_experts, capacity) % num_tokens
  return jnp.where(slots < requests[..., None], tokens, num_tokens)


def choose_tokens(
    gates: JTensor, capacity: int, paddings: JTensor | None = None
) -> JTensor:
  """Lets every expert pick tokens (Experts Choice, arXiv 2202.09368).

  Args:
    gates: [G, M, E].
    capacity: C, at most M. Of equal gates the earlier token is taken.
    paddings: [G, M], 1 for a padded token, or None for none.

  Returns:
    [G, E, C] int32, the token in each slot, M for an empty slot: there are some
    where a group has fewer unpadded tokens than slots.
  """
  gates = jax.lax.stop_gradient(gates)
  if paddings is not None:
    padded = routing.padding_mask(paddings, gates.shape[:2])[..., None]
    gates = jnp.where(padded, -1.0, gates)
  top_gates, tokens = jax.lax.top_k(jnp.swapaxes(gates, 1, 2), capacity)
  return jnp.where(top_gates < 0, gates.shape[1], tokens)


def slot_weights(gates: JTensor, tokens: JTensor) -> JTensor:
  """Returns the gate between each slot's token and the slot's expert.

  Args:
    gates: [G, M, E].
    tokens: [G, E, C] the token in each slot, M for an empty slot.

  Returns:
    [G, E, C]; 0 for an empty slot.
  """
  experts = jnp.arange(gates.shape[2])[:, None]

  def group_weights(gates, tokens):
    return gates.at[tokens, experts].get(mode='fill', fill_value=0)

  return jax.vmap(group_weights)(gates, tokens)


def gather_tokens(inputs: JTensor, tokens: JTensor) -> JTensor:
  """Returns the inputs of all slots: copies of the tokens they hold.

  Args:
    inputs: [G, M, D].
    tokens: [G, E, C] the token in each slot, M for an empty slot.

  Returns:
    [E, G, C, D], experts first: the layout in which experts run. Empty slots
    hold zeros.
  """

  def group_slots(inputs, tokens):
    return inputs.at[tokens].get(mode='fill', fill_value=0)

  return jax.vmap(group_slots, out_axes=1)(inputs, tokens)


def scatter_slots(
    outputs: JTensor, tokens: JTensor, weights: JTensor, num_tokens: int
) -> JTensor:
  """Returns the tokens: weighted sums of the outputs of their slots.

  Args:
    outputs: [E, G, C, D] what the experts made of their slots.
    tokens: [G, E, C] the token in each slot, M for an empty slot.
    weights: [G, E, C].
    num_tokens: M.

  Returns:
    [G, M, D] in the dtype of `outputs`, summed in that of `weights` where it is
    wider. Tokens in no slot are zero.
  """

  def group_sums(outputs, tokens, weights):
    weighted = outputs * weights[..., None]
    sums = jnp.zeros([num_tokens, weighted.shape[-1]], weighted.dtype)
    return sums.at[tokens].add(weighted, mode='drop')

  sums = jax.vmap(group_sums, in_axes=(1, 0, 0))(outputs, tokens, weights)
  return sums.astype(outputs.dtype)


def experts_per_token(tokens: JTensor, num_tokens: int) -> JTensor:
  """Returns in how many slots each token is.

  Args:
    tokens: [G, E, C] the token in each slot, M for an empty slot.
    num_tokens: M.

  Returns:
    [G, M] int32.
  """
  zeros = jnp.zeros([num_tokens], jnp.int32)
  return jax.vmap(lambda t: zeros.at[t].add(1, mode='drop'))(tokens)


def importance_loss(gates: JTensor, paddings: JTensor | None = None) -> JTensor:
  """Returns how unequal the mean gates of experts are.

  The squared coefficient of variation over experts (V-MoE, appendix A.2),
  which is the same for sums over tokens and for means.

  Args:
    gates: [G, M, E], without noise.
    paddings: [G, M], 1 for a padded token, or None for none.

  Returns:
    [G]; 0 for a group of nothing but padding.
  """
  return _squared_variation(token_mean(gates, paddings))


def load_loss(
    logits: JTensor,
    noisy_logits: JTensor,
    noise_stddev: float,
    num_selected: int,
    paddings: JTensor | None = None,
) -> JTensor:
  """Returns how unequal the chances of experts to be chosen are.

  The chance is that of passing the token's K-th noisy score, were the noise of
  that one expert drawn again. Of its mean over tokens, this is the squared
  coefficient of variation over experts (V-MoE, appendix A.2).

  Args:
    logits: [G, M, E] scores without noise.
    noisy_logits: [G, M, E] the scores by which experts were chosen.
    noise_stddev: standard deviation of the noise between the two, not 0.
    num_selected: K.
    paddings: [G, M], 1 for a padded token, or None for none.

  Returns:
    [G]; 0 for a group of nothing but padding.
  """
  _, experts = jax.lax.top_k(noisy_logits, num_selected)
  # A product with a one-hot row: the gradient of an index would be a scatter.
  last = jax.nn.one_hot(experts[..., -1], logits.shape[-1], dtype=logits.dtype)
  threshold = jnp.sum(last * noisy_logits, axis=-1, keepdims=True)
  distance = (logits - threshold) / noise_stddev
  # JAX has it for no half precision.
  distance = distance.astype(jnp.promote_types(distance.dtype, jnp.float32))
  chance = jax.scipy.special.ndtr(distance)
  return _squared_variation(token_mean(chance, paddings))


def gshard_loss(gates: JTensor, paddings: JTensor | None = None) -> JTensor:
  """Returns the agreement of first choices with mean gates (GShard).

      E sum_e f_e m_e,  f_e share of first choices, m_e mean gate

  (arXiv 2006.16668, algorithm 1, scaled as in its code), 1 when balanced. Only
  the mean gates have a gradient.

  Args:
    gates: [G, M, E] by which experts were chosen.
    paddings: [G, M], 1 for a padded token, or None for none.

  Returns:
    [G]; 0 for a group of nothing but padding.
  """
  num_experts = gates.shape[-1]
  choices = jnp.argmax(gates, axis=-1)
  first = jax.nn.one_hot(choices, num_experts, dtype=gates.dtype)
  shares = token_mean(first, paddings)
  return num_experts * jnp.sum(shares * token_mean(gates, paddings), axis=-1)


def token_mean(x: JTensor, paddings: JTensor | None = None) -> JTensor:
  """Returns [G, E], the mean of [G, M, E] over unpadded tokens, 0 of none."""
  if paddings is None:
    return jnp.mean(x, axis=1)
  padded = routing.padding_mask(paddings, x.shape[:2])[..., None]
  count = jnp.sum(~padded, axis=1).astype(x.dtype)
  return jnp.sum(jnp.where(padded, 0, x), axis=1) / jnp.maximum(count, 1)


def _squared_variation(x: JTensor) -> JTensor:
  """Returns [G], variance over squared mean of each row of [G, E], 0 of 0."""
  mean_square = jnp.square(jnp.mean(x, axis=-1))
  return jnp.var(x, axis=-1) / jnp.where(mean_square > 0, mean_square, 1)
