"""Writes trained classifiers for programs that know nothing of this package."""

from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import json
import os
import pathlib
import tempfile
from typing import Any

from etils import epath
import jax
from jax.experimental import jax2tf
from pax_softmoe import compat
from pax_softmoe import finite
from pax_softmoe import protocol
from pax_softmoe.checkpoints import lazy_array
from pax_softmoe.checkpoints import reading
from praxis import base_layer
from praxis import py_utils
from safetensors import numpy as safetensors_numpy
import tensorflow as tf

NestedMap = py_utils.NestedMap

# What the SavedModel can run on.
_PLATFORMS = ('cpu', 'cuda', 'tpu')


def write_safetensors(
    experiment: protocol.Experiment,
    job_dir: os.PathLike,
    path: os.PathLike,
    step: int | None = None,
) -> None:
  """Writes the weights of a job to one file.

  Each block's arrays have their own names, such as `vit.block_3.attention.wq`,
  whether the model scans blocks or not. The metadata holds `experiment`, `step`
  and `moving_average`: 'true' if the job has EMA_DECAY.

  Args:
    experiment: an `ImageClassification`.
    job_dir: the job_log_dir of a job of it.
    path: the file.
    step: which checkpoint; None for the last.

  Raises:
    ValueError: there is no such checkpoint, or weights are not finite.
  """
  step, weights = reading.open_weights(job_dir, step)
  arrays = {
      name.replace('/', '.'): array.whole()
      for name, array in lazy_array.split_stacks(weights).items()
  }
  _require_finite(arrays)
  metadata = {
      'experiment': type(experiment).__name__,
      'step': str(step),
      'moving_average': str(reading.is_average(job_dir, step)).lower(),
  }
  with _local(path) as file:
    safetensors_numpy.save_file(arrays, file, metadata)


@contextlib.contextmanager
def _local(path: os.PathLike) -> Iterator[str]:
  """Gives a path to write to for libraries that know local files only."""
  path = epath.Path(path)
  if '://' not in str(path):
    yield str(path)
    return
  with tempfile.TemporaryDirectory() as folder:
    file = epath.Path(folder) / path.name
    yield str(file)
    file.copy(path)


def write_saved_model(
    experiment: protocol.Experiment,
    job_dir: os.PathLike,
    folder: os.PathLike,
    step: int | None = None,
) -> None:
  """Writes a TensorFlow SavedModel.

  Its signature `serving_default` takes

    images         [B, size, size, channels] float32, pixels from 0 to 255, in
                   the size that the model was trained for; the value range of
                   training, such as -1 to 1, is made inside

  and returns

    logits         [B, classes] float32
    probabilities  [B, classes] float32, by softmax or sigmoid as trained

  B is any, but with a router that lets images compete a multiple of its group.
  The asset class_names.json lists the names of the classes, or is empty.

  Args:
    experiment: an `ImageClassification`; the last of its `eval_ops` makes the
      value range.
    job_dir: the job_log_dir of a job of it.
    folder: where to.
    step: which checkpoint; None for the last.

  Raises:
    ValueError: there is no such checkpoint, or weights are not finite.
  """
  # One array at a time, so that there is one copy of the weights.
  weights = jax.tree_util.tree_map(
      lambda array: tf.Variable(array.whole()),
      reading.open_weights(job_dir, step)[1],
  )
  _require_finite(lazy_array.by_name(weights))
  size, channels = experiment.IMAGE_SIZE, experiment.CHANNELS
  group = experiment.group_size()
  batch = 'b' if group == 1 else f'{group}*b'
  compute = jax2tf.convert(
      _logits_function(experiment),
      polymorphic_shapes=[None, f'({batch}, {size}, {size}, {channels})'],
      with_gradient=False,
      **compat.saved_model_options(_PLATFORMS),
  )
  value_range = experiment.eval_ops()[-1]
  to_probabilities = (
      tf.nn.softmax if experiment.LOSS == 'softmax' else tf.nn.sigmoid
  )

  def serve(images):
    logits = compute(weights.ToNestedDict(), value_range(images, None))
    return {'logits': logits, 'probabilities': to_probabilities(logits)}

  module = tf.Module()
  # Attributes of a module are what is saved.
  module.weights = jax.tree_util.tree_leaves(weights)
  spec = tf.TensorSpec([None, size, size, channels], tf.float32, 'images')
  module.serve = tf.function(serve, input_signature=[spec], autograph=False)
  source = experiment.source()
  with tempfile.TemporaryDirectory() as temporary:
    names = pathlib.Path(temporary) / 'class_names.json'
    names.write_text(json.dumps(list(source.class_names if source else ())))
    module.class_names = tf.saved_model.Asset(str(names))
    with compat.top_k_for_tensorflow():
      signatures = {'serving_default': module.serve}
      tf.saved_model.save(module, str(folder), signatures)


def _require_finite(arrays: Mapping[str, Any]) -> None:
  """Raises ValueError if weights are not finite; the message names them."""
  finite.require_none(
      finite.bad_arrays(arrays),
      len(arrays),
      'arrays of weights hold numbers',
      'give an earlier checkpoint as --step',
  )


def _logits_function(experiment: protocol.Experiment) -> Any:
  """Returns a function of weights and images that makes logits."""
  model = base_layer.instantiate(experiment.model())

  def logits(weights, images):
    hparams = base_layer.JaxContext.HParams(do_eval=True)
    with base_layer.JaxContext.new_context(hparams=hparams):
      return model.apply(
          {'params': weights},
          NestedMap(image=images),
          method=type(model).compute_predictions,
      ).logits

  return logits
