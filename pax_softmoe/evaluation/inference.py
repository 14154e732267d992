"""Trained classifiers outside of Pax' loops."""

from collections.abc import Iterator
from collections.abc import Sequence
import math
import os
from typing import Any

import jax
import numpy as np
from pax_softmoe import finite
from pax_softmoe import protocol
from pax_softmoe.checkpoints import lazy_array
from pax_softmoe.checkpoints import reading
from pax_softmoe.model_size import counts
from pax_softmoe.sharding import axis_rules
from pax_softmoe.sharding import fits
from praxis import base_layer
from praxis import py_utils
from scipy import special

NestedMap = py_utils.NestedMap


class TrainedClassifier:
  """The model of a job with its weights, on the devices of this machine.

  Only weights are read from the checkpoint, each device's part straight to it.
  The mesh is the experiment's if this machine has as many devices, else the
  default for as many as it has.

  Attributes:
    experiment: the `ImageClassification`, with that mesh.
    step: of the checkpoint.
    is_average: whether the weights are a moving average, see EMA_DECAY.
    model: the `ImageClassifier` layer.
    weights: tree of jax.Arrays.
    batch_multiple: what sizes of batches must be multiples of.
  """

  def __init__(
      self,
      experiment: protocol.Experiment,
      job_dir: os.PathLike,
      step: int | None = None,
  ):
    """Reads the weights.

    Args:
      experiment: an `ImageClassification`.
      job_dir: the job_log_dir of a job of it.
      step: which checkpoint; None for the last.

    Raises:
      ValueError: there is no such checkpoint, or it is of another model.
    """
    # What concerns training only may ask for data that is elsewhere.
    settings = {'FEWSHOT_DATA': (), 'INIT_FROM': ''}
    if math.prod(experiment.mesh_shape()) != jax.device_count():
      settings |= {'ICI_MESH_SHAPE': None, 'DCN_MESH_SHAPE': None}
    experiment = type(experiment).with_settings(**settings)()
    shape = experiment.mesh_shape()
    if problem := fits.mesh_problem(experiment, shape):
      raise ValueError(f'{type(experiment).__name__}: {problem}')
    self.experiment = experiment
    self._mesh = jax.sharding.Mesh(
        np.array(jax.devices()).reshape(shape), axis_rules.MESH_AXES
    )
    batch_axes = experiment.sharding_rules().activation('b')[0]
    self._batch_sharding = self._on_mesh(batch_axes)
    parts = axis_rules.axis_size(shape, batch_axes)
    self.batch_multiple = parts * experiment.group_size()
    model_tpl = experiment.task().model
    self.model = base_layer.instantiate(model_tpl)
    wanted = NestedMap.FromNestedDict(
        counts.abstract_weights(experiment, model_tpl)
    )
    reading.check_fits(job_dir, experiment, step)
    self.step, self.weights = reading.read_weights(
        job_dir, step, jax.tree_util.tree_map(self._sharding, wanted)
    )
    self.is_average = reading.is_average(job_dir, self.step)
    self._compiled = {}

  @property
  def which(self) -> str:
    """What the weights are, as 'Step 500' or 'Step 500, moving average'."""
    return f'Step {self.step}' + ', moving average' * self.is_average

  def _on_mesh(self, *split: Any) -> jax.sharding.NamedSharding:
    spec = jax.sharding.PartitionSpec(*split)
    return jax.sharding.NamedSharding(self._mesh, spec)

  def _sharding(self, w: base_layer.WeightHParams) -> jax.sharding.Sharding:
    split = w.full_split_dims_mapping or ()
    return self._on_mesh(*(None if s in (None, -1) else s for s in split))

  def apply(
      self, weights: NestedMap, batch: NestedMap, method: str, *mutable: str
  ) -> Any:
    """Returns what a method of the model makes of a batch; may be traced.

    Args:
      weights: like the attribute.
      batch: what the method needs of an `ImageClassifier`'s batch.
      method: its name.
      *mutable: flax collections to return besides, as second of a pair.
    """
    hparams = base_layer.JaxContext.HParams(do_eval=True)
    with base_layer.JaxContext.new_context(hparams=hparams):
      return self.model.apply(
          {'params': weights},
          batch,
          method=getattr(type(self.model), method),
          mutable=list(mutable) or False,
      )

  def _run(self, batch: NestedMap, *how: str) -> Any:
    if how not in self._compiled:
      self._compiled[how] = jax.jit(lambda w, b: self.apply(w, b, *how))
    with self._mesh:
      batch = jax.device_put(batch, self._batch_sharding)
      return self._compiled[how](self.weights, batch)

  def metrics(self, batch: NestedMap) -> NestedMap:
    """Returns (value, weight) of each metric of a batch with labels."""
    return self._run(batch, '__call__')[0]

  def predictions(
      self, images: np.ndarray, names: Sequence[Any] = ()
  ) -> NestedMap:
    """Returns `features` [B, D] and `logits` [B, C] of images, float32.

    Args:
      images: [B, size, size, channels] as the experiment's `eval_ops` leave
        them. Where a router lets images compete (GROUP_SIZE), those beside an
        image matter, the black ones that fill up a batch too.
      names: of the images, for errors; by default counted from 0.

    Raises:
      ValueError: some are not finite; the message says how many and which.
    """
    outputs = self._predictions(images)
    self._require_finite(outputs, names)
    return outputs

  def _predictions(self, images: np.ndarray) -> NestedMap:
    outputs = self._run(self._filled(images), 'compute_predictions')
    return jax.tree_util.tree_map(
        lambda x: np.asarray(x)[: len(images)], outputs
    )

  def _require_finite(self, outputs: NestedMap, names: Sequence[Any]) -> None:
    bad = finite.bad_rows(outputs.features, outputs.logits)
    total = len(outputs.logits)
    self._require_none([names[i] if names else int(i) for i in bad], total)

  def _require_none(self, bad: Sequence[Any], total: int) -> None:
    """Raises ValueError if outputs of some of so many images are not finite."""
    if not len(bad):
      return
    weights = lazy_array.by_name(self.weights)
    broken = finite.bad_arrays(weights)
    why = 'the weights are, so that numbers are too large on their way'
    if broken:
      why = (
          f'nor are {len(broken)} of {len(weights)} arrays of weights, such as'
          f' {broken[0]}'
      )
    finite.require_none(
        bad,
        total,
        f'images have outputs in step {self.step}',
        f'{why}; give an earlier checkpoint as --step',
    )

  def probabilities(
      self, images: np.ndarray, names: Sequence[Any] = ()
  ) -> np.ndarray:
    """Returns those of each class, [B, C]; takes what `predictions` takes."""
    logits = self.predictions(images, names).logits
    if self.experiment.LOSS == 'softmax':
      return special.softmax(logits, axis=-1)
    return special.expit(logits)

  def intermediates(self, images: np.ndarray) -> Any:
    """Returns what the layers keep of images for analysis.

    Args:
      images: as in `predictions`.

    Returns:
      A flax collection; its arrays may have rows for more images at the end.

    Raises:
      ValueError: as `predictions`.
    """
    how = 'compute_predictions', 'intermediates'
    outputs, kept = self._run(self._filled(images), *how)
    outputs = jax.tree_util.tree_map(lambda x: x[: len(images)], outputs)
    self._require_finite(outputs, ())
    return kept['intermediates']

  def _filled(self, images: np.ndarray) -> NestedMap:
    """Returns a batch of images and as many zeros as the mesh needs."""
    padding = [(0, -len(images) % self.batch_multiple)] + [(0, 0)] * 3
    return NestedMap(image=np.pad(images, padding))

  def features(self, batches: Any) -> tuple[np.ndarray, np.ndarray]:
    """Returns features and first labels of all images of an input.

    Args:
      batches: a Praxis input that ends with StopIteration.

    Returns:
      [images, D] float32, finite or not, and [images] int.
    """
    parts = []
    for batch in each(batches):
      is_real = batch.eval_sample_weights > 0
      found = self._predictions(batch.image).features[is_real]
      parts.append((found, batch.labels.argmax(-1)[is_real]))
    features, labels = zip(*parts)
    return np.concatenate(features), np.concatenate(labels)

  def evaluate(self, batches: Any) -> dict[str, float]:
    """Evaluates the model on all of an input.

    Args:
      batches: a Praxis input that ends with StopIteration.

    Returns:
      `examples`, and the mean over them of each metric.

    Raises:
      ValueError: outputs or a metric are not finite; the message says how many
        and which.
    """
    sums, count, images, bad = {}, 0.0, 0, []
    for batch in each(batches):
      metrics = jax.device_get(self.metrics(batch))
      count += float(metrics.loss[1])
      for name, (value, weight) in metrics.items():
        sums[name] = sums.get(name, 0.0) + float(value) * float(weight)
      is_real = np.asarray(batch.eval_sample_weights) > 0
      if not all(np.isfinite(value) for value, _ in metrics.values()):
        found = self._predictions(batch.image)
        rows = finite.bad_rows(found.features[is_real], found.logits[is_real])
        bad += [images + int(i) for i in rows]
      images += int(is_real.sum())
    self._require_none(bad, images)
    result = {name: value / count for name, value in sums.items()}
    for name, value in result.items():
      if not math.isfinite(value):
        raise ValueError(
            f'{self.which}: {name} is {value}, since logits are finite but too'
            ' large for it; give an earlier checkpoint as --step'
        )
    return {'examples': round(count), **result}


def each(batches: Any) -> Iterator[NestedMap]:
  """Gives all batches of a Praxis input that ends with StopIteration."""
  while True:
    try:
      batch = batches.get_next()
    except StopIteration:
      return
    yield batch
