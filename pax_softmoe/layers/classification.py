"""Image classification."""

import math
from typing import Any

import jax
from jax import numpy as jnp
import optax
from pax_softmoe.layers import checks
from pax_softmoe.layers import vit
from praxis import base_input
from praxis import base_layer
from praxis import base_model
from praxis import pax_fiddle
from praxis import py_utils
from praxis import pytypes

JTensor = pytypes.JTensor
LayerTpl = pax_fiddle.Config[base_layer.BaseLayer]
NestedMap = py_utils.NestedMap
SplitDimsMapping = pytypes.SplitDimsMapping
WeightHParams = base_layer.WeightHParams
WeightInit = base_layer.WeightInit
template_field = base_layer.template_field

LOSSES = ('softmax', 'sigmoid')


class ClassificationHead(base_layer.BaseLayer):
  """A linear layer that starts at the prior: zero kernel, bias -ln(classes).

  Attributes:
    input_dims: D.
    num_classes: C.
  """

  input_dims: int = 0
  num_classes: int = 0

  class WeightSharding(base_layer.BaseLayer.WeightSharding):
    """How weights are split over the mesh.

    Attributes:
      dc: of the kernel.
    """

    dc: SplitDimsMapping = None

  def setup(self) -> None:
    checks.common(self)
    self.create_variable(
        'kernel',
        WeightHParams(
            shape=[self.input_dims, self.num_classes],
            init=WeightInit.Constant(0.0),
            mesh_shape=self.mesh_shape,
            tensor_split_dims_mapping=self.weight_split_dims_mapping.dc,
        ),
    )
    self.create_variable(
        'bias',
        WeightHParams(
            shape=[self.num_classes],
            init=WeightInit.Constant(-math.log(self.num_classes)),
            mesh_shape=self.mesh_shape,
        ),
    )

  def __call__(self, features: JTensor) -> JTensor:
    """Returns logits [B, C] of features [B, D]."""
    return features @ self.theta.kernel + self.theta.bias


class ImageClassifier(base_model.BaseModel):
  """Features of an image, a linear head, and the loss of its labels.

  A batch is a NestedMap of
    image: [B, size, size, channels] float32,
    labels: [B, C] float32, 1 for each class of the image,
    eval_sample_weights: [B] float32, 0 for examples that only fill a batch.

  Attributes:
    vit_tpl: what makes features [B, D] of images.
    num_classes: C.
    loss: 'softmax' cross-entropy, or 'sigmoid' cross-entropy summed over
      classes; either way the mean over examples.
    head_tpl: the linear head.
  """

  vit_tpl: LayerTpl = template_field(vit.VisionTransformer)
  num_classes: int = 0
  loss: str = 'softmax'
  head_tpl: LayerTpl = template_field(ClassificationHead)

  def setup(self) -> None:
    checks.common(self)
    checks.choice(self, 'loss', LOSSES)
    self.create_child('vit', self.vit_tpl)
    self.create_child(
        'head',
        self.head_tpl.clone().set(
            input_dims=self.vit_tpl.model_dims, num_classes=self.num_classes
        ),
    )

  def compute_predictions(self, input_batch: NestedMap) -> NestedMap:
    """Returns `features` [B, D] and `logits` [B, C], float32, of a batch."""
    features = self.vit(input_batch.image)
    logits = self.head(features).astype(jnp.float32)
    return NestedMap(features=features.astype(jnp.float32), logits=logits)

  def compute_loss(
      self, predictions: NestedMap, input_batch: NestedMap
  ) -> tuple[NestedMap, NestedMap]:
    """Returns the metrics of a batch, each with the weight it counts with.

    Args:
      predictions: from `compute_predictions`.
      input_batch: a batch, see the class.

    Returns:
      `total_loss` (what is minimized), `loss` (cross-entropy), `accuracy` (the
      share of images whose first class is one of theirs; NaN if there is an
      image whose logits are not finite, as no class of it is the first); and
      nothing per example, which Pax would print at every summary.
    """
    labels = input_batch.labels
    logits = predictions.logits
    if self.loss == 'softmax':
      losses = optax.softmax_cross_entropy(logits, labels)
    else:
      losses = optax.sigmoid_binary_cross_entropy(logits, labels).sum(-1)
    first = jnp.argmax(logits, axis=-1)[:, None]
    correct = jnp.take_along_axis(labels, first, axis=-1)[:, 0] > 0
    is_finite = jnp.isfinite(logits).all(axis=-1)
    correct = jnp.where(is_finite, correct.astype(jnp.float32), jnp.nan)
    weights = input_batch.eval_sample_weights
    total_weight = weights.sum()

    def mean(x):
      # What fills a batch counts for nothing, not even as NaN.
      total = jnp.sum(jnp.where(weights > 0, x * weights, 0))
      return total / jnp.maximum(total_weight, 1e-6)

    loss = mean(losses)
    metrics = NestedMap(
        total_loss=(loss + self._auxiliary_loss(), total_weight),
        loss=(loss, total_weight),
        accuracy=(mean(correct), total_weight),
    )
    return metrics, NestedMap()

  def _auxiliary_loss(self) -> JTensor | float:
    """Returns the sum of what layers gave to `add_aux_loss`."""
    collected = self.variables.get(base_layer.AUX_LOSS, {})
    is_leaf = lambda x: isinstance(x, base_layer.AuxLossStruct)
    leaves = jax.tree_util.tree_leaves(collected, is_leaf=is_leaf)
    return sum(leaf.value for leaf in leaves)

  def decode(
      self, input_batch: NestedMap
  ) -> tuple[NestedMap, NestedMap, NestedMap]:
    """Predicts the classes of a batch.

    Args:
      input_batch: a batch, see the class.

    Returns:
      The metrics of `compute_loss`; per example `classes` [B, 5] int32 with
      `scores` [B, 5] (probabilities), best first, and `weights` [B]; and no
      further metrics.
    """
    predictions = self.compute_predictions(input_batch)
    metrics, _ = self.compute_loss(predictions, input_batch)
    if self.loss == 'softmax':
      probabilities = jax.nn.softmax(predictions.logits, axis=-1)
    else:
      probabilities = jax.nn.sigmoid(predictions.logits)
    count = min(5, self.num_classes)
    scores, classes = jax.lax.top_k(probabilities, count)
    outputs = NestedMap(
        classes=classes,
        scores=scores,
        weights=input_batch.eval_sample_weights,
    )
    return metrics, outputs, NestedMap()

  def process_decode_out(
      self, input_obj: base_input.BaseInput, decode_out: NestedMap
  ) -> tuple[NestedMap, list[tuple[str, Any]], NestedMap]:
    """Returns one (key, prediction) for each example of a decoded batch."""
    del input_obj
    rows = []
    for i, weight in enumerate(decode_out.weights):
      if weight > 0:
        classes = [int(c) for c in decode_out.classes[i]]
        scores = [float(s) for s in decode_out.scores[i]]
        rows.append((str(i), {'classes': classes, 'scores': scores}))
    return NestedMap(num_decoded=(len(rows), 1)), rows, NestedMap()
