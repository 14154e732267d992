"""The expert MLPs, all of a layer in one set of stacked weights."""

from jax import ad_checkpoint
from jax import numpy as jnp
from pax_softmoe.layers import activations
from pax_softmoe.layers import checks
from pax_softmoe.layers import initializers
from pax_softmoe.layers import partial_sums
from praxis import base_layer
from praxis import pax_fiddle
from praxis import pytypes
from praxis.layers import stochastics

JTensor = pytypes.JTensor
LayerTpl = pax_fiddle.Config[base_layer.BaseLayer]
SplitDimsMapping = pytypes.SplitDimsMapping
WeightHParams = base_layer.WeightHParams
WeightInit = base_layer.WeightInit
template_field = base_layer.template_field


class ExpertMlps(base_layer.BaseLayer):
  """E two-layer MLPs, each with biases, applied to E groups of vectors.

      O_e = act(S_e wi_e + bi_e) wo_e + bo_e

  Kernels start Xavier uniform per expert and biases N(0, 1e-6), as in the
  official code, which also starts all experts of a layer alike: only the slots
  tell them apart at first.

  Everything is computed in `fprop_dtype`, and the activation says for itself.

  Attributes:
    input_dims: D.
    hidden_dims: H.
    num_experts: E.
    activation_tpl: activation of the hidden dims.
    dropout_prob: dropout of the hidden dims.
    identical_init: whether all experts start with the same weights. Experts
      that would see the same inputs for ever need False.
  """

  input_dims: int = 0
  hidden_dims: int = 0
  num_experts: int = 0
  activation_tpl: LayerTpl = template_field(activations.GELU)
  dropout_prob: float = 0.0
  identical_init: bool = True

  class WeightSharding(base_layer.BaseLayer.WeightSharding):
    """How weights are split over the mesh, by their letters.

    Attributes:
      edh: of `wi`.
      ehd: of `wo`.
      eh: of `bi`.
      ed: of `bo`.
    """

    edh: SplitDimsMapping = None
    ehd: SplitDimsMapping = None
    eh: SplitDimsMapping = None
    ed: SplitDimsMapping = None

  class ActivationSharding(base_layer.BaseLayer.ActivationSharding):
    """How activations are split over the mesh, by their letters.

    Attributes:
      ebpd: inputs and outputs.
      ebph: hidden dims.
    """

    ebpd: SplitDimsMapping = None
    ebph: SplitDimsMapping = None

  def setup(self) -> None:
    checks.common(self)
    checks.whole(self, 'input_dims', 'hidden_dims', 'num_experts')
    checks.probability(self, 'dropout_prob')
    checks.flag(self, 'identical_init')
    wp = self.weight_split_dims_mapping
    e, d, h = self.num_experts, self.input_dims, self.hidden_dims
    kernel_init = initializers.xavier_uniform(d, h)
    bias_init = WeightInit.Gaussian(1e-6)
    self._create('wi', [e, d, h], kernel_init, wp.edh)
    self._create('bi', [e, h], bias_init, wp.eh)
    self._create('wo', [e, h, d], kernel_init, wp.ehd)
    self._create('bo', [e, d], bias_init, wp.ed)
    self.create_child('activation', self.activation_tpl)
    self.create_child(
        'dropout',
        pax_fiddle.Config(
            stochastics.Dropout, keep_prob=1.0 - self.dropout_prob
        ),
    )

  def _create(
      self,
      name: str,
      shape: list[int],
      init: WeightInit,
      split: SplitDimsMapping,
  ) -> None:
    self.create_variable(
        name,
        WeightHParams(
            shape=shape,
            init=init,
            mesh_shape=self.mesh_shape,
            tensor_split_dims_mapping=split,
        ),
    )
    if self.identical_init and self.is_initializing():
      # Praxis has no initializer that repeats a value, so the first expert's
      # is copied over the others' once it is drawn.
      boxed = super(base_layer.BaseLayer, self).get_variable(
          base_layer.PARAMS, name
      )
      value = jnp.broadcast_to(boxed.value[:1], boxed.value.shape)
      self.put_variable(base_layer.PARAMS, name, boxed.replace_boxed(value))

  def _product(
      self, equation: str, inputs: JTensor, weights: JTensor
  ) -> JTensor:
    """Returns an einsum, with what chips exchange for it hidden."""
    ap = self.activation_split_dims_mapping
    wp = self.weight_split_dims_mapping
    x, w, y = equation.replace('->', ',').split(',')
    at = partial_sums.place(
        getattr(ap, x),
        getattr(wp, w),
        getattr(ap, y),
        self.mesh_shape,
        self.mesh_axis_names,
    )
    return partial_sums.einsum(equation, inputs, weights, at)

  def __call__(self, slots: JTensor) -> JTensor:
    """Applies each expert to its slots.

    Args:
      slots: [E, B, P, D].

    Returns:
      [E, B, P, D] in the dtype of `slots`.
    """
    checks.array(
        self, 'slots', slots, 'EBPD', E=self.num_experts, D=self.input_dims
    )
    ap = self.activation_split_dims_mapping
    theta = self.theta
    hidden = self._product(
        'ebpd,edh->ebph', slots.astype(self.fprop_dtype), theta.wi
    )
    hidden += theta.bi[:, None, None, :]
    hidden = base_layer.maybe_shard(hidden, ap.ebph, self.mesh_axis_names)
    hidden = ad_checkpoint.checkpoint_name(hidden, 'expert_hidden')
    hidden = self.dropout(self.activation(hidden))
    outputs = self._product('ebph,ehd->ebpd', hidden, theta.wo)
    outputs += theta.bo[:, None, None, :]
    outputs = outputs.astype(slots.dtype)
    return base_layer.maybe_shard(outputs, ap.ebpd, self.mesh_axis_names)
