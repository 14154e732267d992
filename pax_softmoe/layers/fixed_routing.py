"""Mixtures whose routing is not learned, the ablations of appendix A."""

from jax import numpy as jnp
from pax_softmoe.layers import mixture
from praxis import pytypes

JTensor = pytypes.JTensor

ROUTINGS = ('identity', 'uniform')


class FixedRoutingMoE(mixture.MixtureOfExperts):
  """A mixture without a router (paper, appendix A, "Identity" and "Uniform").

      identity   token n fills slot n, and reads it: expert n // P
      uniform    every slot holds the mean token, every token reads the mean
                 slot

  `SoftMoE` has the ablations that learn one side and fix the other.

  Attributes:
    slots_per_expert: P.
    routing: 'identity', which needs sequences of E*P tokens, or 'uniform'.
    identical_expert_init: see `MixtureOfExperts`. Here False: experts that all
      see the mean token would stay the same for ever.
  """

  slots_per_expert: int = 1
  routing: str = 'identity'
  identical_expert_init: bool = False

  def setup(self) -> None:
    super().setup()
    self._require_positive('slots_per_expert')
    if self.routing not in ROUTINGS:
      raise ValueError(
          f'FixedRoutingMoE: routing is {self.routing!r}; use one of'
          f' {", ".join(ROUTINGS)}'
      )

  def __call__(
      self, inputs: JTensor, paddings: JTensor | None = None
  ) -> JTensor:
    """Applies the experts to their tokens, or to the mean of them.

    Args:
      inputs: [B, N, D] tokens.
      paddings: [B, N], 1 for a padded token, or None. Padded tokens have no
        part in the mean, and their rows of the result are zero.

    Returns:
      [B, N, D] in the dtype of `inputs`.

    Raises:
      ValueError: the routing is 'identity' and N is not E*P.
    """
    kept = jnp.ones(inputs.shape[:2]) if paddings is None else 1 - paddings
    kept = kept.astype(inputs.dtype)[..., None]
    inputs = self._shard(inputs, 'bnd')
    if self.routing == 'identity':
      outputs = self._identity(inputs)
    else:
      outputs = self._uniform(inputs, kept)
    return self._shard(outputs * kept, 'bnd')

  def _identity(self, inputs: JTensor) -> JTensor:
    """Returns [B, N, D], each token through the expert of its position."""
    batch, num_tokens, dims = inputs.shape
    e, p = self.num_experts, self.slots_per_expert
    if num_tokens != e * p:
      raise ValueError(
          f'FixedRoutingMoE: {num_tokens} tokens cannot fill {e} experts of'
          f' {p} slots one to one; make num_experts * slots_per_expert'
          f' {num_tokens}, or set routing to "uniform"'
      )
    slots = inputs.reshape(batch, e, p, dims).swapaxes(0, 1)
    outputs = self._apply_experts(slots)
    return outputs.swapaxes(0, 1).reshape(inputs.shape)

  def _uniform(self, inputs: JTensor, kept: JTensor) -> JTensor:
    """Returns [B, 1, D], the mean over slots of experts on the mean token."""
    count = jnp.maximum(jnp.sum(kept, axis=1), 1)
    mean = jnp.sum(inputs * kept, axis=1) / count
    batch, dims = mean.shape
    shape = (self.num_experts, batch, self.slots_per_expert, dims)
    outputs = self._apply_experts(jnp.broadcast_to(mean[None, :, None], shape))
    return jnp.mean(outputs, axis=(0, 2))[:, None]
