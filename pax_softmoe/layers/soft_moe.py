"""Soft MoE as a Praxis layer."""

import jax
from jax import ad_checkpoint
from jax import numpy as jnp
from pax_softmoe import routing
from pax_softmoe.layers import checks
from pax_softmoe.layers import initializers
from pax_softmoe.layers import mixture
from praxis import base_layer
from praxis import pytypes

JTensor = pytypes.JTensor
SplitDimsMapping = pytypes.SplitDimsMapping
WeightHParams = base_layer.WeightHParams
WeightInit = base_layer.WeightInit

DISPATCHES = {
    'soft': routing.dispatch_weights,
    'uniform': routing.uniform_dispatch_weights,
}
COMBINES = {
    'soft': routing.combine_weights,
    'uniform': routing.uniform_combine_weights,
}


class SoftMoE(mixture.MixtureOfExperts):
  """Soft Mixture-of-Experts: every expert sees a mix of every token.

      Z = norm(X) (scale * norm(Phi));  D = softmax_tokens(Z)
      C = softmax_slots(Z);  Y = C experts(D^T X)

  (arXiv 2308.00951, algorithms 1 and 2; see `pax_softmoe.routing`.) The layer
  holds nothing that depends on the number of tokens, so one set of weights
  serves every resolution. Each sequence is routed on its own.

  `phi` starts as the official code starts it: a truncated normal of standard
  deviation 1/sqrt(D*E).

  Attributes:
    slots_per_expert: P.
    normalize: whether tokens and slot vectors are normalized for the scores.
    dispatch: 'soft', or 'uniform' for slots that all hold the mean token
      (appendix A, "Uniform / Soft").
    combine: 'soft', or 'uniform' for tokens that all read the mean slot
      (appendix A, "Soft / Uniform").
    noise_stddev: standard deviation of normal noise on the scores in training.
    router_dtype: dtype of scores and both softmaxes, see `MixtureOfExperts`.
  """

  slots_per_expert: int = 1
  normalize: bool = True
  dispatch: str = 'soft'
  combine: str = 'soft'
  noise_stddev: float = 0.0
  router_dtype: jnp.dtype = jnp.float32

  class WeightSharding(mixture.MixtureOfExperts.WeightSharding):
    """How weights are split over the mesh, by their letters.

    Attributes:
      dep: of `phi`.
    """

    dep: SplitDimsMapping = None

  class ActivationSharding(mixture.MixtureOfExperts.ActivationSharding):
    """How activations are split over the mesh, by their letters.

    Attributes:
      bnep: scores and weights.
    """

    bnep: SplitDimsMapping = None

  def setup(self) -> None:
    super().setup()
    checks.whole(self, 'slots_per_expert')
    checks.flag(self, 'normalize')
    checks.choice(self, 'dispatch', DISPATCHES)
    checks.choice(self, 'combine', COMBINES)
    checks.number(self, 'noise_stddev')
    checks.dtype(self, 'router_dtype')
    if self.dispatch == self.combine == 'uniform':
      raise ValueError(
          'SoftMoE: dispatch and combine are both uniform, which leaves no'
          ' router to learn; use FixedRoutingMoE with routing "uniform"'
      )
    d, e, p = self.input_dims, self.num_experts, self.slots_per_expert
    # Pax would round them before the layer reads them.
    full_precision = [
        base_layer.WeightHParamsCollection.DISALLOW_BFLOAT16_CONVERSION
    ]
    self.create_variable(
        'phi',
        WeightHParams(
            shape=[d, e, p],
            init=initializers.lecun_normal(d * e),
            mesh_shape=self.mesh_shape,
            tensor_split_dims_mapping=self.weight_split_dims_mapping.dep,
            collections=full_precision,
        ),
    )
    self.create_variable(
        'scale',
        WeightHParams(
            shape=[],
            init=WeightInit.Constant(1.0),
            mesh_shape=self.mesh_shape,
            tensor_split_dims_mapping=[],
            collections=full_precision,
        ),
    )

  def _logits(self, inputs: JTensor) -> JTensor:
    """Returns the scores [B, N, E, P] of inputs [B, N, D]."""
    dtype = self._score_dtype(self.router_dtype)
    logits = routing.slot_logits(
        inputs.astype(dtype),
        self._as_stored('phi').astype(dtype),
        self._as_stored('scale').astype(dtype),
        normalize=self.normalize,
    )
    if self.noise_stddev and not self.do_eval:
      noise = jax.random.normal(self.next_prng_key(), logits.shape)
      logits += self.noise_stddev * noise.astype(logits.dtype)
    logits = self._shard(logits, 'bnep')
    return ad_checkpoint.checkpoint_name(logits, 'router_logits')

  def _route(self, tokens: JTensor, padded: JTensor | None) -> JTensor:
    logits = self._logits(tokens)
    dispatch = DISPATCHES[self.dispatch](logits, padded)
    combine = COMBINES[self.combine](logits, padded)
    self._summarize(dispatch, combine)

    slots = routing.mix_tokens(tokens, dispatch.astype(tokens.dtype))
    outputs = self._apply_experts(slots)
    return routing.mix_slots(outputs, combine.astype(outputs.dtype))

  def _summarize(self, dispatch: JTensor, combine: JTensor) -> None:
    """Adds how concentrated routing is (paper, appendix E.2)."""
    self.add_summary(
        'mean_max_dispatch_weight', jnp.mean(jnp.max(dispatch, axis=1))
    )
    self.add_summary(
        'mean_max_combine_weight', jnp.mean(jnp.max(combine, axis=(2, 3)))
    )
    self.add_summary('router_scale', self.theta.scale)
    self.sow(base_layer.INTERMEDIATES, 'dispatch_weights', dispatch)
    self.sow(base_layer.INTERMEDIATES, 'combine_weights', combine)
