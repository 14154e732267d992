"""Mixtures whose routing is not learned, the ablations of appendix A."""

from jax import numpy as jnp
from pax_softmoe.layers import checks
from pax_softmoe.layers import mixture
from praxis import pytypes

JTensor = pytypes.JTensor

ROUTINGS = ('identity', 'uniform')


class FixedRoutingMoE(mixture.MixtureOfExperts):
  """A mixture without a router (paper, appendix A, "Identity" and "Uniform").

      identity   token n fills slot n, and reads it: expert n // P
      uniform    every slot holds the mean token, every token reads the mean
                 slot

  `SoftMoE` has the ablations that learn one side and fix the other. Sequences
  of another length than E*P are a ValueError with 'identity'.

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
    checks.whole(self, 'slots_per_expert')
    checks.choice(self, 'routing', ROUTINGS)

  def _route(self, tokens: JTensor, padded: JTensor | None) -> JTensor:
    if self.routing == 'identity':
      return self._identity(tokens)
    return self._uniform(tokens, padded)

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

  def _uniform(self, inputs: JTensor, padded: JTensor | None) -> JTensor:
    """Returns [B, N, D], the mean over slots of experts on the mean token."""
    batch, count, dims = inputs.shape
    if padded is not None:
      count = jnp.maximum(jnp.sum(~padded, axis=1, keepdims=True), 1)
      count = count.astype(inputs.dtype)
    mean = jnp.sum(inputs, axis=1) / count
    shape = (self.num_experts, batch, self.slots_per_expert, dims)
    outputs = self._apply_experts(jnp.broadcast_to(mean[None, :, None], shape))
    outputs = jnp.mean(outputs, axis=(0, 2))[:, None]
    return jnp.broadcast_to(outputs, inputs.shape)
