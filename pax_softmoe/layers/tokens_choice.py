"""Tokens Choice as a Praxis layer: every token picks its experts."""

import jax
from jax import numpy as jnp
from pax_softmoe import routing_sparse
from pax_softmoe.layers import checks
from pax_softmoe.layers import sparse_moe
from praxis import pytypes

JTensor = pytypes.JTensor


class TokensChoiceMoE(sparse_moe.SparseMoE):
  """Sparse mixture in which every token picks its K best experts.

  The router of V-MoE (arXiv 2106.05974) and the first baseline of the Soft MoE
  paper (section 3). An expert has room for a fixed number of tokens per group
  and drops those beyond; all first choices come before second ones. The losses
  that keep experts equally busy are means over groups, and go to
  `add_aux_loss` with their weights. Their defaults are those of V-MoE's
  configs; the Soft MoE paper does not give its own.

  Attributes:
    num_selected_experts: K.
    batch_prioritized: whether tokens of high gate are served before others,
      instead of in their order.
    capacity_multiple: see `SparseMoE`; 4 as in the official code.
    importance_loss_weight: of the loss on unequal sums of gates.
    load_loss_weight: of the loss on unequal chances to be chosen. It is one of
      the noise, so it takes part in training with `noise_stddev` only.
    gshard_loss_weight: of the loss of GShard.
  """

  num_selected_experts: int = 1
  batch_prioritized: bool = True
  capacity_multiple: int = 4
  importance_loss_weight: float = 0.005
  load_loss_weight: float = 0.005
  gshard_loss_weight: float = 0.0

  def setup(self) -> None:
    super().setup()
    checks.whole(self, 'num_selected_experts')
    checks.flag(self, 'batch_prioritized')
    checks.number(
        self,
        'importance_loss_weight',
        'load_loss_weight',
        'gshard_loss_weight',
    )
    if self.num_selected_experts > self.num_experts:
      raise ValueError(
          'TokensChoiceMoE: num_selected_experts is'
          f' {self.num_selected_experts}; set it to 1 or more and at most to'
          f' num_experts, {self.num_experts}'
      )

  @property
  def _choices_per_token(self) -> int:
    return self.num_selected_experts

  def _choose(self, gates: JTensor, padded: JTensor | None) -> JTensor:
    return routing_sparse.choose_experts(
        gates,
        self.num_selected_experts,
        self.capacity(gates.shape[1]),
        batch_prioritized=self.batch_prioritized,
        paddings=padded,
    )

  def _add_losses(
      self,
      logits: JTensor,
      noisy_logits: JTensor,
      padded: JTensor | None,
  ) -> None:
    if self.importance_loss_weight:
      gates = jax.nn.softmax(logits, axis=-1)
      losses = routing_sparse.importance_loss(gates, padded)
      self._add_loss('importance', losses, padded)
    if self.load_loss_weight and self._noise_stddev:
      losses = routing_sparse.load_loss(
          logits,
          noisy_logits,
          self._noise_stddev,
          self.num_selected_experts,
          padded,
      )
      self._add_loss('load', losses, padded)
    if self.gshard_loss_weight:
      gates = jax.nn.softmax(noisy_logits, axis=-1)
      losses = routing_sparse.gshard_loss(gates, padded)
      self._add_loss('gshard', losses, padded)

  def _add_loss(
      self, kind: str, losses: JTensor, padded: JTensor | None
  ) -> None:
    """Adds the mean of losses [G] over the groups that hold tokens."""
    if padded is None:
      loss = jnp.mean(losses)
    else:
      groups = jnp.sum(~jnp.all(padded, axis=1))
      loss = jnp.sum(losses) / jnp.maximum(groups, 1)
    name = f'{kind}_loss'
    self.add_summary(name, loss)
    self.add_aux_loss(name, getattr(self, f'{name}_weight') * loss)
