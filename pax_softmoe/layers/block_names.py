"""The names of a model's blocks, each by itself or scanned in stacks.

A block by itself is the child `block_i`. A run of equal blocks that are scanned
is `blocks_K`, named for its first block; its arrays are below `blocks_K/sub` and
have a leading axis of layers.
"""

from collections.abc import Iterable
from collections.abc import Sequence
import re

_SINGLE = re.compile(r'(?:.*/)?block_(\d+)/.*')
_STACKED = re.compile(r'(.*/)?blocks_(\d+)/sub/(.*)')


def single(i: int) -> str:
  """Returns the name of block `i` by itself."""
  return f'block_{i}'


def stack(first: int) -> str:
  """Returns the name of the scanned blocks that begin with block `first`."""
  return f'blocks_{first}'


def is_stacked(name: str) -> bool:
  """Returns whether that is an array of scanned blocks."""
  return _STACKED.fullmatch(name) is not None


def singles(name: str, shape: Sequence[int]) -> list[str]:
  """Returns what an array of a model is called in single blocks.

  Args:
    name: such as 'vit/blocks_2/sub/attention/wq'.
    shape: of the array.

  Returns:
    One name, such as 'vit/block_2/attention/wq', for each layer of a stack; for
    other arrays their own.
  """
  match = _STACKED.fullmatch(name)
  if match is None:
    return [name]
  before, first, rest = match[1] or '', int(match[2]), match[3]
  return [f'{before}{single(first + i)}/{rest}' for i in range(shape[0])]


def numbers(names: Iterable[str]) -> tuple[int, ...]:
  """Returns the blocks that arrays are of, by their names in single blocks."""
  matches = map(_SINGLE.fullmatch, names)
  return tuple(sorted({int(match[1]) for match in matches if match}))


def parse(child: str) -> tuple[int, bool]:
  """Returns the first block of a model's child, and whether it is a stack."""
  kind, _, first = child.rpartition('_')
  return int(first), kind == 'blocks'
