"""Runs a trained classifier outside of Pax' loops."""

from collections.abc import Callable
from typing import Any

import jax
from praxis import base_layer
from praxis import pax_fiddle
from praxis import py_utils

NestedMap = py_utils.NestedMap


def eval_function(
    model_tpl: pax_fiddle.Config[base_layer.BaseLayer],
    *,
    collections: tuple[str, ...] = (),
) -> Callable[[NestedMap, NestedMap], Any]:
  """Returns the compiled evaluation of a model.

  Args:
    model_tpl: template of an `ImageClassifier`.
    collections: flax collections to return besides, such as 'intermediates'.

  Returns:
    A function of weights and a batch. Without collections it returns the
    metrics of the batch, else a pair of the metrics and the collections.
  """
  model = base_layer.instantiate(model_tpl)

  @jax.jit
  def evaluate(weights, batch):
    hparams = base_layer.JaxContext.HParams(do_eval=True)
    with base_layer.JaxContext.new_context(hparams=hparams):
      outputs = model.apply(
          {'params': weights}, batch, mutable=list(collections) or False
      )
    if not collections:
      return outputs[0]
    (metrics, _), state = outputs
    return metrics, state

  return evaluate


def evaluate(
    model_tpl: pax_fiddle.Config[base_layer.BaseLayer],
    weights: NestedMap,
    batches: Any,
) -> dict[str, float]:
  """Evaluates a model on all of an input.

  Args:
    model_tpl: template of an `ImageClassifier`.
    weights: its weights.
    batches: a Praxis input that ends with StopIteration.

  Returns:
    `examples`, and the mean over them of each metric.
  """
  step = eval_function(model_tpl)
  sums, count = {}, 0.0
  while True:
    try:
      batch = batches.get_next()
    except StopIteration:
      break
    metrics = jax.device_get(step(weights, batch))
    count += float(metrics.loss[1])
    for name, (value, weight) in metrics.items():
      sums[name] = sums.get(name, 0.0) + float(value) * float(weight)
  result = {name: value / count for name, value in sums.items()}
  return {'examples': round(count), **result}
