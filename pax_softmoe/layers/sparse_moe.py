"""What Tokens Choice and Experts Choice share as Praxis layers."""

import jax
from jax import ad_checkpoint
from jax import numpy as jnp
from pax_softmoe import routing_sparse
from pax_softmoe.layers import checks
from pax_softmoe.layers import initializers
from pax_softmoe.layers import mixture
from praxis import base_layer
from praxis import pytypes

JTensor = pytypes.JTensor
SplitDimsMapping = pytypes.SplitDimsMapping
WeightHParams = base_layer.WeightHParams


class SparseMoE(mixture.MixtureOfExperts):
  """A mixture whose slots hold single tokens. Subclasses choose which.

      G = softmax_experts(X gate + noise);  Y_n = sum_e G_ne expert_e(X_n)

  the sum over the experts that have token n in one of their slots; a token in
  none becomes zero (see `pax_softmoe.routing_sparse`). Tokens of `group_size`
  sequences compete with each other, so an output depends on all sequences of
  its group. Padded tokens are in no slot and in no loss. A batch that cannot be
  cut into groups is a ValueError.

  `gate` starts as the official code starts it: a truncated normal of standard
  deviation 1/sqrt(D).

  Letters: B batch, N tokens, D model dims, E experts; groups of M tokens, C
  slots of an expert per group.

  Attributes:
    capacity_factor: slots of all experts per choice of a token.
    capacity_rounding: 'ceil' or 'round', how the capacity becomes whole.
    capacity_multiple: the capacity is rounded up to a multiple of it.
    group_size: sequences that are routed together; divides the batch.
    noise_stddev: standard deviation of normal noise on the scores in training,
      times 1/E.
    router_dtype: dtype of scores, gates and losses, see `MixtureOfExperts`.
  """

  capacity_factor: float = 1.0
  capacity_rounding: str = 'ceil'
  capacity_multiple: int = 1
  group_size: int = 1
  noise_stddev: float = 1.0
  router_dtype: jnp.dtype = jnp.float32

  class WeightSharding(mixture.MixtureOfExperts.WeightSharding):
    """How weights are split over the mesh, by their letters.

    Attributes:
      de: of `gate`.
    """

    de: SplitDimsMapping = None

  def setup(self) -> None:
    super().setup()
    checks.whole(self, 'group_size', 'capacity_multiple')
    checks.number(self, 'capacity_factor', zero=False)
    checks.choice(self, 'capacity_rounding', routing_sparse.ROUNDINGS)
    checks.number(self, 'noise_stddev')
    checks.dtype(self, 'router_dtype')
    self.create_variable(
        'gate',
        WeightHParams(
            shape=[self.input_dims, self.num_experts],
            init=initializers.lecun_normal(self.input_dims),
            mesh_shape=self.mesh_shape,
            tensor_split_dims_mapping=self.weight_split_dims_mapping.de,
            # Pax would round it before the layer reads it.
            collections=[
                base_layer.WeightHParamsCollection.DISALLOW_BFLOAT16_CONVERSION
            ],
        ),
    )

  def _choose(self, gates: JTensor, padded: JTensor | None) -> JTensor:
    """Returns the token in each slot, [G, E, C], of gates [G, M, E]."""
    raise NotImplementedError(
        f'{type(self).__name__} does not say which tokens its slots hold; use'
        ' TokensChoiceMoE or ExpertsChoiceMoE'
    )

  def _add_losses(
      self,
      logits: JTensor,
      noisy_logits: JTensor,
      padded: JTensor | None,
  ) -> None:
    """Adds auxiliary losses of scores [G, M, E] without and with noise."""

  @property
  def _noise_stddev(self) -> float:
    """The standard deviation of the noise, 0 outside of training."""
    return 0.0 if self.do_eval else self.noise_stddev / self.num_experts

  def capacity(self, num_tokens: int) -> int:
    """Returns C, the slots of an expert for a group of `num_tokens` tokens."""
    capacity = routing_sparse.expert_capacity(
        num_tokens * self._choices_per_token,
        self.num_experts,
        self.capacity_factor,
        rounding=self.capacity_rounding,
        multiple_of=self.capacity_multiple,
    )
    # No expert has use for more slots than there are tokens.
    return min(capacity, num_tokens)

  @property
  def _choices_per_token(self) -> int:
    return 1

  def _route(self, tokens: JTensor, padded: JTensor | None) -> JTensor:
    shape = tokens.shape
    tokens = self._shard(self._grouped(tokens), 'bnd')
    if padded is not None:
      padded = self._grouped(padded)
    logits = self._logits(tokens)
    noisy_logits = logits
    if self._noise_stddev:
      noise = jax.random.normal(self.next_prng_key(), logits.shape)
      noisy_logits += self._noise_stddev * noise.astype(logits.dtype)
    noisy_logits = ad_checkpoint.checkpoint_name(noisy_logits, 'router_logits')
    self._add_losses(logits, noisy_logits, padded)
    gates = jax.nn.softmax(noisy_logits, axis=-1)
    chosen = self._choose(gates, padded)
    # Kept with the slots: chosen again in the backward pass, with other
    # rounding, they could be others than those that were computed.
    chosen = ad_checkpoint.checkpoint_name(chosen, 'expert_inputs')
    self._summarize(gates, chosen, padded)

    outputs = self._apply_experts(routing_sparse.gather_tokens(tokens, chosen))
    weights = routing_sparse.slot_weights(gates, chosen)
    outputs = routing_sparse.scatter_slots(
        outputs, chosen, weights, tokens.shape[1]
    )
    return self._shard(outputs, 'bnd').reshape(shape)

  def _grouped(self, x: JTensor) -> JTensor:
    """Returns [B, N, ...] as [G, M, ...]."""
    batch = x.shape[0]
    if batch % self.group_size:
      divisors = [n for n in range(1, batch + 1) if batch % n == 0]
      raise ValueError(
          f'{type(self).__name__}: {batch} sequences cannot be cut into groups'
          f' of {self.group_size}; make the batch a multiple of group_size, or'
          f' set group_size to one of {", ".join(map(str, divisors))}'
      )
    return x.reshape(batch // self.group_size, -1, *x.shape[2:])

  def _logits(self, tokens: JTensor) -> JTensor:
    """Returns the scores [G, M, E] of tokens [G, M, D], without noise."""
    dtype = self._score_dtype(self.router_dtype)
    gate = self._as_stored('gate').astype(dtype)
    logits = jnp.einsum('bnd,de->bne', tokens.astype(dtype), gate)
    # Scores stay with their tokens, whole: who is chosen depends on all.
    split = self.activation_split_dims_mapping.bnd
    split = None if split is None else (split[0], None, None)
    return base_layer.maybe_shard(logits, split, self.mesh_axis_names)

  def _summarize(
      self, gates: JTensor, chosen: JTensor, padded: JTensor | None
  ) -> None:
    """Adds how many tokens no expert has, and how equal experts are."""
    served = routing_sparse.experts_per_token(chosen, gates.shape[1]) > 0
    peaks = jnp.max(gates, axis=-1)
    shares = routing_sparse.token_mean(gates, padded) * self.num_experts
    kept = jnp.ones_like(peaks)
    if padded is not None:
      kept = jnp.where(padded, 0, kept)
    count = jnp.maximum(jnp.sum(kept), 1)
    self.add_summary('dropped_tokens', 1 - jnp.sum(served * kept) / count)
    self.add_summary('mean_max_gate', jnp.sum(peaks * kept) / count)
    self.add_summary('min_expert_importance', jnp.mean(jnp.min(shares, -1)))
    self.add_summary('max_expert_importance', jnp.mean(jnp.max(shares, -1)))
    self.sow(base_layer.INTERMEDIATES, 'gates', gates)
    self.sow(base_layer.INTERMEDIATES, 'slot_tokens', chosen)
