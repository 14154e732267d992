"""Soft MoE as a Praxis layer."""

import math

import jax
from jax import ad_checkpoint
from jax import numpy as jnp
from pax_softmoe import routing
from pax_softmoe.layers import experts
from praxis import base_layer
from praxis import pax_fiddle
from praxis import pytypes
from praxis.layers import activations

JTensor = pytypes.JTensor
LayerTpl = pax_fiddle.Config[base_layer.BaseLayer]
SplitDimsMapping = pytypes.SplitDimsMapping
WeightHParams = base_layer.WeightHParams
WeightInit = base_layer.WeightInit
template_field = base_layer.template_field

# The standard deviation of a standard normal cut off at two: initializers that
# divide by it keep the one they promise, as jax.nn.initializers do.
TRUNCATED_NORMAL_STDDEV = 0.87962566103423978


class SoftMoE(base_layer.BaseLayer):
  """Soft Mixture-of-Experts: every expert sees a mix of every token.

      Z = norm(X) (scale * norm(Phi));  D = softmax_tokens(Z)
      C = softmax_slots(Z);  Y = C experts(D^T X)

  (arXiv 2308.00951, algorithms 1 and 2; see `pax_softmoe.routing`.) The layer
  holds nothing that depends on the number of tokens, so one set of weights
  serves every resolution. Each sequence is routed on its own.

  `phi` starts as the official code starts it: a truncated normal of standard
  deviation 1/sqrt(D*E).

  Attributes:
    input_dims: D.
    hidden_dims: H of each expert.
    num_experts: E.
    slots_per_expert: P.
    normalize: whether tokens and slot vectors are normalized for the scores.
    noise_stddev: standard deviation of normal noise on the scores in training.
    activation_tpl: activation of the experts.
    router_dtype: dtype of scores and both softmaxes.
    dropout_prob: dropout of the experts' hidden dims.
    identical_expert_init: whether all experts start with the same weights.
  """

  input_dims: int = 0
  hidden_dims: int = 0
  num_experts: int = 0
  slots_per_expert: int = 1
  normalize: bool = True
  noise_stddev: float = 0.0
  activation_tpl: LayerTpl = template_field(activations.GELU)
  router_dtype: jnp.dtype = jnp.float32
  dropout_prob: float = 0.0
  identical_expert_init: bool = True

  class WeightSharding(base_layer.BaseLayer.WeightSharding):
    """How weights are split over the mesh, by their letters.

    Attributes:
      dep: of `phi`.
      edh, ehd, eh, ed: of the experts, see `ExpertMlps`.
    """

    dep: SplitDimsMapping = None
    edh: SplitDimsMapping = None
    ehd: SplitDimsMapping = None
    eh: SplitDimsMapping = None
    ed: SplitDimsMapping = None

  class ActivationSharding(base_layer.BaseLayer.ActivationSharding):
    """How activations are split over the mesh, by their letters.

    Attributes:
      bnd: tokens, in and out.
      bnep: scores and weights.
      ebpd, ebph: slots where their experts live, see `ExpertMlps`.
    """

    bnd: SplitDimsMapping = None
    bnep: SplitDimsMapping = None
    ebpd: SplitDimsMapping = None
    ebph: SplitDimsMapping = None

  def setup(self) -> None:
    for name in ('input_dims', 'hidden_dims', 'num_experts', 'slots_per_expert'):
      if getattr(self, name) < 1:
        raise ValueError(
            f'{type(self).__name__}: {name} is {getattr(self, name)}; set it to'
            ' 1 or more'
        )
    d, e, p = self.input_dims, self.num_experts, self.slots_per_expert
    wp = self.weight_split_dims_mapping
    ap = self.activation_split_dims_mapping
    # The router reads its weights in full precision whatever the rest does.
    full_precision = [
        base_layer.WeightHParamsCollection.DISALLOW_BFLOAT16_CONVERSION
    ]
    self.create_variable(
        'phi',
        WeightHParams(
            shape=[d, e, p],
            init=WeightInit.TruncatedGaussian(
                1 / math.sqrt(d * e) / TRUNCATED_NORMAL_STDDEV
            ),
            mesh_shape=self.mesh_shape,
            tensor_split_dims_mapping=wp.dep,
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
    experts_tpl = pax_fiddle.Config(
        experts.ExpertMlps,
        input_dims=d,
        hidden_dims=self.hidden_dims,
        num_experts=e,
        activation_tpl=self.activation_tpl,
        dropout_prob=self.dropout_prob,
        identical_init=self.identical_expert_init,
    )
    for letters in ('edh', 'ehd', 'eh', 'ed'):
      setattr(
          experts_tpl.weight_split_dims_mapping, letters, getattr(wp, letters)
      )
    for letters in ('ebpd', 'ebph'):
      setattr(
          experts_tpl.activation_split_dims_mapping,
          letters,
          getattr(ap, letters),
      )
    self.create_child('experts', experts_tpl)

  def _logits(self, inputs: JTensor) -> JTensor:
    """Returns the scores [B, N, E, P] of inputs [B, N, D]."""
    logits = routing.slot_logits(
        inputs.astype(self.router_dtype),
        self.theta.phi.astype(self.router_dtype),
        self.theta.scale.astype(self.router_dtype),
        normalize=self.normalize,
    )
    if self.noise_stddev and not self.do_eval:
      noise = jax.random.normal(self.next_prng_key(), logits.shape)
      logits += self.noise_stddev * noise.astype(logits.dtype)
    logits = self._shard(logits, 'bnep')
    return ad_checkpoint.checkpoint_name(logits, 'router_logits')

  def _shard(self, x: JTensor, letters: str) -> JTensor:
    split = getattr(self.activation_split_dims_mapping, letters)
    return base_layer.maybe_shard(x, split, self.mesh_axis_names)

  def __call__(
      self, inputs: JTensor, paddings: JTensor | None = None
  ) -> JTensor:
    """Routes all tokens through all experts.

    Args:
      inputs: [B, N, D] tokens.
      paddings: [B, N], 1 for a padded token, or None. Padded tokens have no
        part in any slot, and their rows of the result are zero.

    Returns:
      [B, N, D] in the dtype of `inputs`.
    """
    inputs = self._shard(inputs, 'bnd')
    logits = self._logits(inputs)
    dispatch = routing.dispatch_weights(logits, paddings)
    combine = routing.combine_weights(logits, paddings)
    self._summarize(dispatch, combine)

    slots = routing.mix_tokens(inputs, dispatch.astype(inputs.dtype))
    slots = self._shard(self._shard_like_tokens(slots), 'ebpd')
    slots = ad_checkpoint.checkpoint_name(slots, 'expert_inputs')
    outputs = self.experts(slots)
    outputs = self._shard_like_tokens(self._shard(outputs, 'ebpd'))
    outputs = ad_checkpoint.checkpoint_name(outputs, 'expert_outputs')
    outputs = routing.mix_slots(outputs, combine.astype(outputs.dtype))
    return self._shard(outputs, 'bnd')

  def _shard_like_tokens(self, slots: JTensor) -> JTensor:
    """Keeps slots [E, B, P, D] on the devices of their tokens.

    Between this constraint and that of `ebpd` there is nothing to compute, so
    the partitioner can only put the exchange of slots there: one all-to-all.
    """
    tokens = self.activation_split_dims_mapping.bnd
    split = None if tokens is None else (None, tokens[0], None, None)
    return base_layer.maybe_shard(slots, split, self.mesh_axis_names)

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
