"""Parameters and FLOPs of an experiment's model, by arithmetic."""

import math
from typing import Any

import jax
from pax_softmoe import protocol
from pax_softmoe.layers import soft_moe
from pax_softmoe.layers import sparse_moe
from praxis import base_layer
from praxis import py_utils

NestedMap = py_utils.NestedMap


def abstract_weights(
    experiment: protocol.Experiment, model_tpl: Any = None
) -> NestedMap:
  """Returns the tree of `WeightHParams` of a model; nothing is allocated.

  Args:
    experiment: an `ImageClassification`.
    model_tpl: its model with sharding annotations; None for the plain one.
  """
  # A whole batch: some routers need several images to route together.
  specs = experiment.get_input_specs_provider_params().Instantiate()
  batch = specs.get_input_specs()
  model = base_layer.instantiate(model_tpl or experiment.model())
  return model.abstract_init_with_metadata(batch)['params']


def weight_shapes(
    experiment: protocol.Experiment,
) -> dict[str, tuple[int, ...]]:
  """Returns the shape of each weight by names like 'vit/norm/bias'.

  Args:
    experiment: an `ImageClassification`.
  """
  tree = abstract_weights(experiment)
  names = py_utils.extract_prefixed_keys_from_nested_map(tree)
  leaves = map(jax.tree_util.tree_leaves, (names, tree))
  return {name: tuple(w.full_shape) for name, w in zip(*leaves)}


def count(weights: NestedMap) -> int:
  """Returns how many numbers a tree of `WeightHParams` holds."""
  leaves = jax.tree_util.tree_leaves(weights)
  return sum(math.prod(w.full_shape) for w in leaves)


def forward_flops(experiment: protocol.Experiment) -> int:
  """Returns the FLOPs of one image's forward pass, two per multiply-add.

  Matrix products only, as the paper counts (its table 8 agrees within 1 %).

  Args:
    experiment: an `ImageClassification`.
  """
  n = num_tokens(experiment)
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


def _moe_multiply_adds(experiment: protocol.Experiment, n: int) -> int:
  """Returns multiply-adds of one MoE layer on the `n` tokens of an image."""
  moe = experiment.moe_tpl()
  if moe is None:
    return 0
  d, h = experiment.MODEL_DIMS, experiment.HIDDEN_DIMS
  slots = slots_per_image(experiment)
  if moe.cls is soft_moe.SoftMoE:
    # Scores, dispatch and combine each are tokens x slots x dims.
    router = 3 * n * slots * d
  elif issubclass(moe.cls, sparse_moe.SparseMoE):
    # The gate; tokens are gathered and scattered without products.
    router = n * moe.num_experts * d
  else:
    router = 0
  return round(router + 2 * slots * d * h)


def slots_per_image(experiment: protocol.Experiment) -> float:
  """Returns the slots of all experts of a layer, per image; 0 if dense.

  Args:
    experiment: an `ImageClassification`.
  """
  moe = experiment.moe_tpl()
  if moe is None:
    return 0
  if not issubclass(moe.cls, sparse_moe.SparseMoE):
    return moe.num_experts * moe.slots_per_expert
  tokens = num_tokens(experiment) * moe.group_size
  capacity = base_layer.instantiate(moe).capacity(tokens)
  return moe.num_experts * capacity / moe.group_size


def num_tokens(experiment: protocol.Experiment) -> int:
  """Returns the tokens of an image."""
  return (experiment.IMAGE_SIZE // experiment.PATCH_SIZE) ** 2


def describe(experiment: protocol.Experiment) -> dict[str, Any]:
  """Returns what the model is, in numbers.

  Args:
    experiment: an `ImageClassification`.
  """
  weights = abstract_weights(experiment)
  moe = experiment.moe_tpl()
  total = count(weights)
  experts = experiment.num_experts() if moe else 0
  return {
      'parameters': total,
      'parameters_without_head': total - count(weights['head']),
      'gflop_per_image': forward_flops(experiment) / 1e9,
      'tokens': num_tokens(experiment),
      'moe_layers': experiment.num_moe_layers(),
      'num_experts': experts,
      'slots_per_expert': slots_per_image(experiment) / experts if moe else 0,
  }
