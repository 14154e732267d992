"""Reads the vision transformers of big_vision and of vision_transformer.

Both save a flat `.npz` of names like those of their modules. All of these are
read, with `params/` or `opt/target/` before them or nothing:

  embedding/{kernel,bias}
  pos_embedding, Transformer/pos_embedding,
      Transformer/posembed_input/pos_embedding
  Transformer/encoderblock_0/…, or with all layers stacked along a first axis
      Transformer/encoderblock/…
    LayerNorm_0, MultiHeadDotProductAttention_0, LayerNorm_1, MlpBlock_0, or
    LayerNorm_0, MultiHeadDotProductAttention_1, LayerNorm_2, MlpBlock_3
  Transformer/encoder_norm, head/{kernel,bias}

(big_vision `models/vit.py`, vision_transformer `vit_jax/models_vit.py` and the
files of its model zoo.) Their computation is that of our dense ViT without
QK-norm.
"""

from collections.abc import Collection
import functools
import math
import os
import re
import struct
from typing import Any
import zipfile
import zlib

import ml_dtypes
import numpy as np
from pax_softmoe.checkpoints import lazy_array
from pax_softmoe.layers import block_names

LazyArray = lazy_array.LazyArray

_BFLOAT16 = np.dtype('V2')

_PREFIX = re.compile(r'params/|opt/target/')
_BLOCK = re.compile(r'Transformer/encoderblock(?:_(\d+))?/(\w+?)_(\d+)/(.*)')
_POSITIONS = (
    'pos_embedding',
    'Transformer/pos_embedding',
    'Transformer/posembed_input/pos_embedding',
)
# Some models of ViT-G's time have the parts of the attention head outermost.
_HEAD = (
    'head/',
    'pre_logits/',
    'MAPHead_0/',
    'probe',
    'MultiHeadDotProductAttention_0/',
    'LayerNorm_0/',
    'MlpBlock_0/',
)
_OUTSIDE = {
    'embedding/kernel': 'vit/patch_embedding/kernel',
    'embedding/bias': 'vit/patch_embedding/bias',
    'Transformer/encoder_norm/scale': 'vit/norm/scale',
    'Transformer/encoder_norm/bias': 'vit/norm/bias',
    'head/kernel': 'head/kernel',
    'head/bias': 'head/bias',
}
_INSIDE = {
    'MultiHeadDotProductAttention': {
        'query/kernel': 'attention/wq',
        'query/bias': 'attention/bq',
        'key/kernel': 'attention/wk',
        'key/bias': 'attention/bk',
        'value/kernel': 'attention/wv',
        'value/bias': 'attention/bv',
        'out/kernel': 'attention/wo',
        'out/bias': 'attention/bo',
    },
    'MlpBlock': {
        'Dense_0/kernel': 'feed_forward/ffn_layer1/linear/w',
        'Dense_0/bias': 'feed_forward/ffn_layer1/bias/b',
        'Dense_1/kernel': 'feed_forward/ffn_layer2/linear/w',
        'Dense_1/bias': 'feed_forward/ffn_layer2/bias/b',
    },
}


def open_npz(
    path: os.PathLike,
    grid: int,
    *,
    fresh_head: bool = False,
    drop_cls: bool = False,
) -> dict[str, LazyArray]:
  """Finds the arrays of a vision transformer; reads no numbers yet.

  Args:
    path: the file.
    grid: patches along a side of the image. Models with fixed sine and cosine
      positions save none; theirs are computed for this grid.
    fresh_head: leave out the head, of whatever kind.
    drop_cls: leave out the class token and its position.

  Returns:
    The arrays by the names they have in our model, in single blocks.

  Raises:
    ValueError: the file is something else, or a model that ours cannot be; and,
      when an array is read, if it is damaged or has numbers that are not finite.
  """
  found = _arrays(path)
  if 'embedding/kernel' not in found:
    raise ValueError(
        f'{path} holds no vision transformer: it has no embedding/kernel, but'
        f' {", ".join(sorted(found)[:3])}, …'
    )
  if fresh_head:
    found = {n: a for n, a in found.items() if not n.startswith(_HEAD)}
  _check_head(path, found)
  cls = found.pop('cls', None)
  if cls and not drop_cls:
    raise ValueError(
        f'{path} has a class token (cls), our ViT takes the mean of all tokens;'
        ' leave it out with --drop_cls, as a start for training: features are'
        " not the source's then"
    )
  tables = [found.pop(n) for n in _POSITIONS if n in found]
  patches = _flat_patches(path, found)
  width = patches.shape[-1]
  if tables:
    result = {'vit/positions': _positions(path, tables[0], drop_cls)}
  else:
    result = {'vit/positions': _sincos(path, grid, width)}
  norms = _norms(found)
  for name, array in found.items():
    if name in _OUTSIDE:
      result[_OUTSIDE[name]] = array
      continue
    match = _BLOCK.fullmatch(name)
    ours = match and _inside(match[2], int(match[3]), match[4], norms)
    if not ours or (match[1] is None and not array.shape):
      raise ValueError(
          f'{path}: {name} {array.shape} has no place in our ViT; give a'
          ' plain ViT with a mean over tokens (gap) and a linear head'
      )
    if match[1] is not None:
      result[f'vit/{block_names.single(int(match[1]))}/{ours}'] = array
    else:
      for i in range(array.shape[0]):
        result[f'vit/{block_names.single(i)}/{ours}'] = array.layer(i)
  return result | {'vit/patch_embedding/kernel': patches}


# What damage makes NumPy, zipfile and zlib raise.
_DAMAGE = (
    EOFError,
    KeyError,
    NotImplementedError,
    OSError,
    SyntaxError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


def _arrays(path: os.PathLike) -> dict[str, LazyArray]:
  """Returns the arrays of a file by name, without prefixes."""
  try:
    archive = np.load(path, allow_pickle=False)
    names = archive.files
  except (*_DAMAGE, AttributeError) as error:
    raise ValueError(
        f'{path} is no .npz file of arrays, or not a whole one; copy it again.'
        ' Pickled files are not read'
    ) from error

  # One at a time: layers of a stack are read one by one.
  @functools.lru_cache(maxsize=1)
  def load(name):
    try:
      array = archive[name]
    except _DAMAGE as error:
      raise _damaged(path, name, error) from error
    # NumPy does not know bfloat16 and saves it as two bytes of anything.
    if array.dtype == _BFLOAT16:
      array = array.view(ml_dtypes.bfloat16)
    with np.errstate(over='ignore'):  # Said below.
      array = array.astype(np.float32)
    wrong = array.size - np.isfinite(array).sum()
    if wrong:
      raise ValueError(
          f'{path}: {wrong} of {array.size} numbers of {name} are not finite as'
          ' float32; give weights of a model that trained well'
      )
    return array

  result = {}
  is_prefixed = any(_PREFIX.match(name) for name in names)
  for name in names:
    # Beside weights with a prefix lies what is no weight.
    if is_prefixed and not _PREFIX.match(name):
      continue
    shape, dtype = _header(path, archive, name)
    if dtype.kind not in 'fiu' and dtype != _BFLOAT16:
      raise ValueError(
          f'{path}: {name} is an array of {dtype}, which is not read; save it'
          ' as numbers'
      )
    plain = _PREFIX.sub('', name, count=1)
    result[plain] = LazyArray(
        plain, shape, lambda index, name=name: load(name)[index]
    )
  return result


def _header(
    path: os.PathLike, archive: Any, name: str
) -> tuple[tuple[int, ...], np.dtype]:
  """Returns shape and dtype of an array without reading its numbers."""
  try:
    with archive.zip.open(name + '.npy') as file:
      version = np.lib.format.read_magic(file)
      header = {
          (1, 0): np.lib.format.read_array_header_1_0,
          (2, 0): np.lib.format.read_array_header_2_0,
      }[version]
      shape, _, dtype = header(file)
  except _DAMAGE as error:
    raise _damaged(path, name, error) from error
  return shape, dtype


def _damaged(path: os.PathLike, name: str, error: Exception) -> ValueError:
  reason = (str(error).splitlines() or [type(error).__name__])[0]
  return ValueError(
      f'{path}: {name} is damaged ({reason}); copy the file again'
  )


_FRESH_HEAD = 'take all but the head with --fresh_head'


def _check_head(path: os.PathLike, names: Collection[str]) -> None:
  """Raises ValueError if a head is no linear layer."""
  if 'pre_logits/kernel' in names:
    raise ValueError(
        f'{path} has a hidden layer before the head (pre_logits/kernel), our'
        f' head is linear; {_FRESH_HEAD}'
    )
  if any(n.startswith(('MAPHead_0/', 'probe')) for n in names):
    raise ValueError(
        f'{path} pools with attention (MAPHead_0), our ViT takes the mean of'
        f' all tokens; {_FRESH_HEAD}'
    )


def _positions(
    path: os.PathLike, table: LazyArray, drop_cls: bool
) -> LazyArray:
  """Returns the table [1, N, D] as [N, D]."""
  if len(table.shape) != 3 or table.shape[0] != 1:
    raise ValueError(
        f'{path}: {table.name} {table.shape} must have the shape (1, patches,'
        ' dims); reshape it'
    )
  count = table.shape[1]
  skip = int(math.isqrt(count) ** 2 + 1 == count)
  if skip and not drop_cls:
    raise ValueError(
        f'{path}: {table.name} {table.shape} has a position for a class token;'
        ' leave it out with --drop_cls'
    )
  if math.isqrt(count - skip) ** 2 != count - skip:
    raise ValueError(
        f'{path}: {table.name} {table.shape} is of no square grid of patches'
    )
  return LazyArray(
      table.name,
      (count - skip, table.shape[2]),
      lambda index: table.whole()[0, skip:][index],
  )


def _sincos(path: os.PathLike, grid: int, width: int) -> LazyArray:
  """Returns big_vision's fixed positions (`posemb='sincos2d'`), [grid², D].

  sin and cos of the column, then of the row, each times 10000^(-i / (D/4 - 1))
  for i < D/4.
  """
  if width % 4 or width < 8:
    raise ValueError(
        f'{path} has no positions, and {width} dims cannot hold fixed ones;'
        ' use a model with a multiple of 4'
    )
  rates = 10_000.0 ** -np.linspace(0, 1, width // 4)
  row, column = np.divmod(np.arange(grid * grid), grid)
  angles = [np.outer(column, rates), np.outer(row, rates)]
  parts = [f(angle) for angle in angles for f in (np.sin, np.cos)]
  table = np.concatenate(parts, axis=1).astype(np.float32)
  return LazyArray(
      'positions computed as sincos2d', table.shape, table.__getitem__
  )


def _norms(names: Collection[str]) -> list[int]:
  """Returns the numbers of the norms in a block, attention's first."""
  matches = (_BLOCK.fullmatch(name) for name in names)
  return sorted({int(m[3]) for m in matches if m and m[2] == 'LayerNorm'})


def _inside(
    module: str, number: int, rest: str, norms: list[int]
) -> str | None:
  """Returns our name of an array in a block, or None if it has none."""
  if module == 'LayerNorm' and rest in ('scale', 'bias') and len(norms) == 2:
    ours = ('attention_norm', 'feed_forward/layer_norm')[norms.index(number)]
    return f'{ours}/{rest}'
  return _INSIDE.get(module, {}).get(rest)


def _flat_patches(path: os.PathLike, found: dict[str, LazyArray]) -> LazyArray:
  """Returns the kernel of patches [p, p, channels, D] as [p * p * channels, D]."""
  kernel = found['embedding/kernel']
  if len(kernel.shape) != 4 or kernel.shape[0] != kernel.shape[1]:
    raise ValueError(f'{path}: embedding/kernel {kernel.shape} is no square')
  dims = kernel.shape[-1]
  return LazyArray(
      kernel.name,
      (math.prod(kernel.shape[:3]), dims),
      lambda index: kernel.whole().reshape(-1, dims)[index],
  )
