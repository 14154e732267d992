"""Parameters and FLOPs of an experiment's model, by arithmetic."""

import math
from typing import Any

import jax
from jax import numpy as jnp
from praxis import base_layer
from praxis import py_utils

NestedMap = py_utils.NestedMap


def abstract_weights(experiment: Any, model_tpl: Any = None) -> NestedMap:
  """Returns the tree of `WeightHParams` of a model; nothing is allocated.

  Args:
    experiment: an `ImageClassification`.
    model_tpl: its model with sharding annotations; None for the plain one.
  """
  size = experiment.IMAGE_SIZE
  shape = jax.ShapeDtypeStruct
  batch = NestedMap(
      image=shape((1, size, size, experiment.CHANNELS), jnp.float32),
      labels=shape((1, experiment.NUM_CLASSES), jnp.float32),
      eval_sample_weights=shape((1,), jnp.float32),
  )
  model = base_layer.instantiate(model_tpl or experiment.model())
  return model.abstract_init_with_metadata(batch)['params']


def count(weights: NestedMap) -> int:
  """Returns how many numbers a tree of `WeightHParams` holds."""
  leaves = jax.tree_util.tree_leaves(weights)
  return sum(math.prod(w.full_shape) for w in leaves)


def forward_flops(experiment: Any) -> int:
  """Returns the FLOPs of one image's forward pass, two per multiply-add.

  Matrix products only, as the paper counts (its table 8 agrees within 1 %).

  Args:
    experiment: an `ImageClassification`.
  """
  n = (experiment.IMAGE_SIZE // experiment.PATCH_SIZE) ** 2
  d, h = experiment.MODEL_DIMS, experiment.HIDDEN_DIMS
  patch_pixels = experiment.PATCH_SIZE**2 * experiment.CHANNELS
  projections = 4 * n * d * d
  attention = projections + 2 * n * n * d
  num_moe = experiment.num_moe_layers()
  num_dense = experiment.NUM_LAYERS - num_moe
  multiply_adds = (
      n * patch_pixels * d
      + experiment.NUM_LAYERS * attention
      + num_dense * 2 * n * d * h
      + num_moe * _moe_multiply_adds(experiment, n)
      + d * experiment.NUM_CLASSES
  )
  return 2 * multiply_adds


def _moe_multiply_adds(experiment: Any, n: int) -> int:
  moe = experiment.moe_tpl()
  if moe is None:
    return 0
  slots = moe.num_experts * moe.slots_per_expert
  d, h = experiment.MODEL_DIMS, experiment.HIDDEN_DIMS
  # Scores, dispatch and combine each are tokens x slots x dims.
  return 3 * n * slots * d + 2 * slots * d * h


def describe(experiment: Any) -> dict[str, Any]:
  """Returns what the model is, in numbers.

  Args:
    experiment: an `ImageClassification`.
  """
  weights = abstract_weights(experiment)
  moe = experiment.moe_tpl()
  total = count(weights)
  return {
      'parameters': total,
      'parameters_without_head': total - count(weights['head']),
      'gflop_per_image': forward_flops(experiment) / 1e9,
      'tokens': (experiment.IMAGE_SIZE // experiment.PATCH_SIZE) ** 2,
      'moe_layers': experiment.num_moe_layers(),
      'num_experts': moe.num_experts if moe else 0,
      'slots_per_expert': moe.slots_per_expert if moe else 0,
  }
