"""Where the arrays of an experiment live on its mesh, by arithmetic."""

import jax
from jax import numpy as jnp
from pax_softmoe import protocol
from pax_softmoe.layers import soft_moe
from pax_softmoe.layers import sparse_moe
from pax_softmoe.model_size import counts
from pax_softmoe.sharding import axis_rules
from praxis import base_layer
from praxis import py_utils


def weights(experiment: protocol.Experiment) -> list[axis_rules.Array]:
  """Returns all weights of an experiment's model and where they live.

  Args:
    experiment: an `ImageClassification`.
  """
  tree = counts.abstract_weights(experiment, experiment.placed_model())
  names = py_utils.extract_prefixed_keys_from_nested_map(tree)
  mesh = experiment.mesh_shape()
  arrays = []
  for name, w in zip(
      jax.tree_util.tree_leaves(names), jax.tree_util.tree_leaves(tree)
  ):
    split = tuple(
        None if axes in (None, -1) else axes
        for axes in w.full_split_dims_mapping or ()
    )
    arrays.append(
        axis_rules.Array(
            name, tuple(w.full_shape), split, w.dtype.dtype.itemsize, mesh
        )
    )
  return arrays


def activations(experiment: protocol.Experiment) -> list[axis_rules.Array]:
  """Returns the large activations of a training step and where they live.

  One entry stands for all blocks of its kind. Which of them are in memory at
  the same time depends on the remat policy.

  Args:
    experiment: an `ImageClassification`.
  """
  b, n = experiment.TRAIN_BATCH_SIZE, counts.num_tokens(experiment)
  d, h = experiment.MODEL_DIMS, experiment.HIDDEN_DIMS
  heads, c = experiment.NUM_HEADS, experiment.NUM_CLASSES
  size, channels = experiment.IMAGE_SIZE, experiment.CHANNELS
  compute = experiment.COMPUTE_DTYPE
  rows = [
      ('image', 'bxxx', (b, size, size, channels), jnp.float32),
      ('tokens', 'bnd', (b, n, d), compute),
      # In the notation of the layer: tokens are letter m where they are keys.
      ('attention/queries', 'abkn', (heads, b, d // heads, n), compute),
      ('attention/scores', 'abmn', (heads, b, n, n), jnp.float32),
  ]
  num_moe = experiment.num_moe_layers()
  if num_moe < experiment.NUM_LAYERS:
    rows.append(('feed_forward/hidden', 'bnh', (b, n, h), compute))
  if num_moe:
    rows += _moe_activations(experiment, b, n)
  rows += [
      ('features', 'bd', (b, d), jnp.float32),
      ('logits', 'bc', (b, c), jnp.float32),
  ]
  rules, mesh = experiment.sharding_rules(), experiment.mesh_shape()
  return [
      axis_rules.Array(
          name, shape, rules.activation(l), jnp.dtype(dtype).itemsize, mesh
      )
      for name, l, shape, dtype in rows
  ]


def _moe_activations(
    experiment: protocol.Experiment, b: int, n: int
) -> list[tuple]:
  """Returns name, letters, shape and dtype of those of an MoE layer."""
  moe = experiment.moe_tpl()
  d, h = experiment.MODEL_DIMS, experiment.HIDDEN_DIMS
  e, compute = moe.num_experts, experiment.COMPUTE_DTYPE
  scores = []
  if issubclass(moe.cls, sparse_moe.SparseMoE):
    # Several images are routed together; their tokens are one sequence.
    b, n = b // moe.group_size, n * moe.group_size
    p = base_layer.instantiate(moe).capacity(n)
    # Experts are not split here: who is chosen depends on all of them.
    scores = [('moe/scores', 'bnx', (b, n, e), moe.router_dtype)]
  else:
    p = moe.slots_per_expert
    if moe.cls is soft_moe.SoftMoE:
      scores = [('moe/scores', 'bnep', (b, n, e, p), moe.router_dtype)]
  return scores + [
      ('moe/slots', 'ebpd', (e, b, p, d), compute),
      ('moe/hidden', 'ebph', (e, b, p, h), compute),
      ('moe/outputs', 'ebpd', (e, b, p, d), compute),
  ]
