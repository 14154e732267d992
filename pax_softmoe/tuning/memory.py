"""Memory of a chip by arithmetic.

It is the sum of

  weights      as they are split, with their gradients and both Adam moments
  casts        one more copy of the weights in the computation dtype
  kept         of each block, what its remat policy keeps for the backward pass
  working set  what one block's backward pass holds at once
"""

from jax import numpy as jnp
from pax_softmoe.tuning import placed

_SCORE_BYTES = 4  # Attention's scores and the router's are float32.
# Numbers that a block works with, and those that remat policy 'none' keeps of
# it, for each token, in units of model dims, hidden dims, and attention scores
# (tokens x heads); chosen to come near the compiler's sizes of the same.
WORKING_SET = (24, 4, 4)
KEPT_BY_NONE = (9, 3, 0)


def by_use(at: placed.Placed) -> dict[str, float]:
  """Returns bytes by what they are for."""
  dtype = at.experiment.FIRST_MOMENT_DTYPE
  first_moment = at.weight_bytes
  if dtype:
    first_moment = jnp.dtype(dtype).itemsize * at.weight_count
  return {
      'weights': at.weight_bytes,
      'optimizer': first_moment + at.weight_bytes,
      'gradients': at.weight_bytes,
      'casts': at.weight_count * at.itemsize,
      'kept': kept(at),
      'working set': _working_set(at),
  }


def kept(at: placed.Placed) -> float:
  """Returns bytes that all blocks keep for the backward pass."""
  of, itemsize = at.experiment, at.itemsize
  num_moe = of.num_moe_layers()
  dims = of.MODEL_DIMS * itemsize
  if of.REMAT == 'none':
    return at.images * of.NUM_LAYERS * _of_block(at, *KEPT_BY_NONE)
  size = of.NUM_LAYERS * at.tokens * dims  # The input of each block.
  if of.REMAT in ('exchange', 'products'):
    size += num_moe * 2 * at.slots * dims
  if of.REMAT == 'products':
    # Attention's output and log-sums, experts' hidden layer, router's scores.
    size += of.NUM_LAYERS * at.tokens * (dims + of.NUM_HEADS * _SCORE_BYTES)
    size += num_moe * at.slots * of.HIDDEN_DIMS * itemsize
    size += num_moe * at.tokens * at.slots * _SCORE_BYTES
  return at.images * size


def _working_set(at: placed.Placed) -> float:
  logits = 3 * at.experiment.NUM_CLASSES * 4
  return at.point.images_per_chip * (_of_block(at, *WORKING_SET) + logits)


def _of_block(
    at: placed.Placed, model_dims: int, hidden_dims: int, scores: int
) -> float:
  """Returns bytes of an image's numbers, in the units of `WORKING_SET`."""
  of = at.experiment
  dims = model_dims * of.MODEL_DIMS + hidden_dims * of.HIDDEN_DIMS
  all_scores = scores * at.tokens * of.NUM_HEADS * _SCORE_BYTES
  return at.tokens * (dims * at.itemsize + all_scores)
