"""Turns scanned stacks of blocks into single blocks, and back.

A model with SCAN_LAYERS keeps a run of equal blocks in arrays with a leading
axis of layers, below `blocks_K/sub` where K is its first block; one without
keeps each block below `block_i`. The functions change that wherever it occurs
in a tree: in weights, and in Adam's moments, which have the same names.

    state.replace(
        mdl_vars=convert.unstack(state.mdl_vars),
        opt_states=convert.unstack(state.opt_states),
    )
"""

from collections.abc import Callable
from collections.abc import Mapping
import itertools
import re
from typing import Any

import jax
import numpy as np
from pax_softmoe.checkpoints import comparing
from pax_softmoe.checkpoints import lazy_array

_STACK = re.compile(r'blocks_(\d+)')
_BLOCK = re.compile(r'block_(\d+)')


def unstack(tree: Any) -> Any:
  """Returns a tree with every `blocks_K/sub` as blocks `block_K` and on.

  Args:
    tree: mappings, lists and tuples of arrays.

  Raises:
    ValueError: arrays of a stack differ in their number of layers.
  """
  return _walk(tree, _unstack_level)


def stack(tree: Any) -> Any:
  """Returns a tree with every run of equal blocks as one stack.

  Blocks are equal if their arrays have the same names, shapes and dtypes, as
  consecutive dense blocks have, and consecutive MoE blocks.

  Args:
    tree: mappings, lists and tuples of arrays.
  """
  return _walk(tree, _stack_level)


def check_shapes(found: Any, wanted: Any) -> None:
  """Checks that a model can take the weights of a checkpoint.

  Args:
    found: the tree of weights.
    wanted: arrays or shapes, the weights of the model.

  Raises:
    ValueError: they do not match; the message says what would help.
  """
  comparing.check_weights(_shapes(found), _shapes(wanted))


def _walk(tree: Any, convert: Callable[[Mapping], dict]) -> Any:
  """Applies `convert` to every mapping, the inner ones first."""
  if isinstance(tree, Mapping):
    kind: Any = type(tree)
    return kind(
        convert({key: _walk(value, convert) for key, value in tree.items()})
    )
  if isinstance(tree, tuple) and hasattr(tree, '_fields'):
    return type(tree)(*(_walk(value, convert) for value in tree))
  if isinstance(tree, (list, tuple)):
    return type(tree)(_walk(value, convert) for value in tree)
  return tree


def _unstack_level(level: Mapping[str, Any]) -> dict[str, Any]:
  result = {}
  for key, value in level.items():
    match = _STACK.fullmatch(key)
    if match is None:
      result[key] = value
      continue
    blocks = value['sub']
    counts = {x.shape[0] for x in jax.tree_util.tree_leaves(blocks)}
    if len(counts) != 1:
      raise ValueError(
          f'{key} is no stack of blocks: its arrays have {sorted(counts)}'
          ' layers'
      )
    for i in range(counts.pop()):
      result[f'block_{int(match[1]) + i}'] = jax.tree_util.tree_map(
          lambda x, i=i: x[i], blocks
      )
  return result


def _stack_level(level: Mapping[str, Any]) -> dict[str, Any]:
  result = {k: v for k, v in level.items() if not _BLOCK.fullmatch(k)}
  numbers = sorted(
      int(_BLOCK.fullmatch(k)[1]) for k in level if k not in result
  )
  blocks = [(i, level[f'block_{i}']) for i in numbers]
  for _, run in itertools.groupby(blocks, key=lambda block: _kind(block[1])):
    run = list(run)
    result[f'blocks_{run[0][0]}'] = type(run[0][1])(
        sub=jax.tree_util.tree_map(
            lambda *layers: np.stack(layers), *(block for _, block in run)
        )
    )
  return result


def _kind(block: Any) -> Any:
  """Returns what equal blocks have in common."""
  leaves, structure = jax.tree_util.tree_flatten(block)
  return structure, [(x.shape, x.dtype) for x in leaves]


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
  """Returns the shape of each array by name."""
  return {name: tuple(x.shape) for name, x in lazy_array.by_name(tree).items()}
