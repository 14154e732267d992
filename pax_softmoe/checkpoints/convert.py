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
from praxis import py_utils

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
  have, want = _shapes(found), _shapes(wanted)
  if have.keys() != want.keys():
    stacked = [any('blocks_' in n for n in names) for names in (have, want)]
    if stacked[0] != stacked[1]:
      function = 'unstack' if stacked[0] else 'stack'
      raise ValueError(
          'the weights are of a model with another SCAN_LAYERS; convert them'
          f' with pax_softmoe.checkpoints.convert.{function}'
      )
    name = sorted(have.keys() ^ want.keys())[0]
    side = 'weights' if name in have else 'model'
    raise ValueError(
        f'only the {side} have {name}; the weights are of another model'
    )
  for name, shape in have.items():
    if shape == want[name]:
      continue
    if match := re.fullmatch(r'(.*)/experts/w[io]', name):
      experts, needed = shape[-3], want[name][-3]
      if experts != needed:
        raise ValueError(
            f'{match[1]} has {experts} experts in the weights and {needed} in'
            f' the model; set NUM_EXPERTS to {experts}, or make other'
            ' experts by upcycling'
        )
    if '/moe/' not in name:
      raise ValueError(
          f'{name} is {shape} in the weights and {want[name]} in the model;'
          ' the weights are of another size of model'
      )
  for name, shape in have.items():
    if shape != want[name]:
      raise ValueError(
          f'{name} is {shape} in the weights and {want[name]} in the model;'
          ' set the router and its slots to those of the weights'
      )


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
  names = py_utils.extract_prefixed_keys_from_nested_map(tree)
  return {
      name: tuple(x.shape)
      for name, x in zip(
          jax.tree_util.tree_leaves(names), jax.tree_util.tree_leaves(tree)
      )
  }
