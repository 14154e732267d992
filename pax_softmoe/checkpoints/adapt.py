"""Converts the weights of one model for another.

What two vision transformers of this package share goes from one to the other
whether their blocks are scanned or not. Apart from that

  * positions of another number of patches are interpolated: bilinear, corners
    on corners, as V-MoE and big_vision do (`scipy.ndimage.zoom`, order 1);
  * a head is taken over or started afresh;
  * if asked for, MLPs become experts ("upcycling"), all of a layer alike, or
    with normal noise to tell them apart; their router starts afresh.

Nothing else is bent: another shape is an error that names the setting.
"""

from collections.abc import Mapping
import dataclasses
import math
import re
import zlib

import numpy as np
from pax_softmoe.checkpoints import lazy_array
from pax_softmoe.layers import block_names
from scipy import ndimage

LazyArray = lazy_array.LazyArray

_POSITIONS = 'vit/positions'
_EXPERTS = re.compile(r'(.*)/moe/experts/([wb])([io])')
_ROUTER = re.compile(r'.*/moe/(phi|scale|gate)')
_QK_SCALE = re.compile(r'.*/attention/[qk]_scale')
# Endings of names to the settings that sizes of their last dimensions are of.
_SETTINGS = (
    ('patch_embedding/kernel', ('PATCH_SIZE or CHANNELS', 'MODEL_DIMS')),
    ('vit/positions', ('IMAGE_SIZE', 'MODEL_DIMS')),
    ('head/kernel', ('MODEL_DIMS', 'NUM_CLASSES')),
    ('head/bias', ('NUM_CLASSES',)),
    ('attention/wo', ('NUM_HEADS', 'NUM_HEADS', 'MODEL_DIMS')),
    ('attention/bo', ('MODEL_DIMS',)),
    (r'attention/w[qkv]', ('MODEL_DIMS', 'NUM_HEADS', 'NUM_HEADS')),
    (r'attention/b[qkv]', ('NUM_HEADS', 'NUM_HEADS')),
    (r'attention/[qk]_scale', ('NUM_HEADS',)),
    ('ffn_layer1/linear/w', ('MODEL_DIMS', 'HIDDEN_DIMS')),
    ('ffn_layer1/bias/b', ('HIDDEN_DIMS',)),
    ('ffn_layer2/linear/w', ('HIDDEN_DIMS', 'MODEL_DIMS')),
    ('experts/wi', ('NUM_EXPERTS', 'MODEL_DIMS', 'HIDDEN_DIMS')),
    ('experts/bi', ('NUM_EXPERTS', 'HIDDEN_DIMS')),
    ('experts/wo', ('NUM_EXPERTS', 'HIDDEN_DIMS', 'MODEL_DIMS')),
    ('experts/bo', ('NUM_EXPERTS', 'MODEL_DIMS')),
    ('moe/phi', ('MODEL_DIMS', 'NUM_EXPERTS', 'SLOTS_PER_EXPERT')),
    ('moe/gate', ('MODEL_DIMS', 'NUM_EXPERTS')),
    ('.*', ('MODEL_DIMS',)),
)


_FRESH_HEAD = 'start a head afresh (--fresh_head, or INIT_HEAD=False)'


@dataclasses.dataclass(frozen=True)
class Changes:
  """What may become of weights on their way into another model.

  Attributes:
    take_head: whether to take the head, which then must fit.
    upcycle: whether MLPs may become experts.
    noise: standard deviation of the normal noise on each expert's kernels, in
      parts of the standard deviation of the kernel.
    seed: of the noise.
  """

  take_head: bool = True
  upcycle: bool = False
  noise: float = 0.0
  seed: int = 0


def adapt(
    where: str,
    source: Mapping[str, LazyArray],
    wanted: Mapping[str, tuple[int, ...]],
    changes: Changes,
) -> dict[str, LazyArray | None]:
  """Finds for each array of a model what to put into it; reads nothing.

  Args:
    where: where the weights are from, for messages.
    source: weights of a model in single blocks, by name; see `lazy_array`.
    wanted: shape of each array of the model, by name.
    changes: what may be done.

  Returns:
    An array of that shape for each name, or None where the model's own start is
    to stay.

  Raises:
    ValueError: the source has not what is needed, or more.
  """
  singles = {
      name: block_names.singles(name, shape) for name, shape in wanted.items()
  }
  _check_blocks(where, source, [s for names in singles.values() for s in names])
  used, result = set(), {}
  # Patches first: what they say of the model's size is simplest.
  for name in sorted(wanted, key=lambda n: 'patch_embedding' not in n):
    shape, parts = wanted[name], singles[name]
    inner = shape if parts == [name] else shape[1:]
    found = [_find(where, source, p, inner, changes, used) for p in parts]
    if found[0] is None:
      result[name] = None
    else:
      result[name] = found[0] if parts == [name] else lazy_array.stack(found)
  if not changes.take_head:
    used.update(name for name in source if name.startswith('head/'))
  if unused := sorted(source.keys() - used):
    raise ValueError(f'{where} has {_surplus(unused[0], source)}')
  return result


def _check_blocks(
    where: str, source: Mapping[str, LazyArray], wanted: list[str]
) -> None:
  counts = [len(block_names.numbers(names)) for names in (source, wanted)]
  if counts[0] != counts[1]:
    raise ValueError(
        f'{where} has {counts[0]} blocks, the model {counts[1]}; set NUM_LAYERS'
        f' to {counts[0]}'
    )


def _find(
    where: str,
    source: Mapping[str, LazyArray],
    name: str,
    shape: tuple[int, ...],
    changes: Changes,
    used: set[str],
) -> LazyArray | None:
  """Returns what to put into one array of a single block, or None."""
  if name.startswith('head/') and not changes.take_head:
    return None
  experts = _EXPERTS.fullmatch(name)
  if experts and name not in source and changes.upcycle:
    layer = {'i': 'ffn_layer1', 'o': 'ffn_layer2'}[experts[3]]
    kind = {'w': 'linear/w', 'b': 'bias/b'}[experts[2]]
    mlp = f'{experts[1]}/{layer}/{kind}'
    if mlp in source:
      used.add(mlp)
      _check_shape(where, source[mlp], name, shape[1:])
      return _experts(source[mlp], name, shape[0], changes)
  if _ROUTER.fullmatch(name) and name not in source and changes.upcycle:
    return None
  if name not in source:
    raise ValueError(f'{where} has {_missing(name, source)}')
  used.add(name)
  array = source[name]
  if name == _POSITIONS and array.shape[1:] == shape[1:]:
    return _interpolated(array, shape)
  _check_shape(where, array, name, shape)
  return array


def _missing(name: str, source: Mapping[str, LazyArray]) -> str:
  """Returns what to say of an array that the source has not."""
  if _QK_SCALE.fullmatch(name):
    return f'no QK-norm ({name}); set QK_NORM to False'
  if name.startswith('head/'):
    return f'no head ({name}); {_FRESH_HEAD}'
  block = name.partition('/moe/')[0]
  if '/moe/' not in name:
    if f'{name.partition("/ffn_")[0]}/moe/experts/wi' in source:
      return f'experts in {block.partition("/feed_")[0]}; set MOE_LAYERS to its'
    return f'no {name}; it is of another model'
  if f'{block}/ffn_layer1/linear/w' in source:
    return (
        f'an MLP in {block}, the model experts; make them with'
        ' `softmoe import --upcycle`'
    )
  return f'no {name}; set the router to its'


def _surplus(name: str, source: Mapping[str, LazyArray]) -> str:
  """Returns what to say of an array that the model has no place for."""
  if _QK_SCALE.fullmatch(name):
    return f'QK-norm ({name}), the model none; set QK_NORM to True'
  shape = source[name].shape
  return f'{name} {shape}, the model nothing like it; it is of another model'


def _check_shape(
    where: str, array: LazyArray, name: str, shape: tuple[int, ...]
) -> None:
  """Raises ValueError, with the setting to change, if shapes differ."""
  if array.shape == shape:
    return
  setting = setting_of(name, array.shape, shape)
  hint = ''
  if setting == 'NUM_EXPERTS':
    hint = ', or make other experts of a dense model by upcycling'
  if setting == 'NUM_CLASSES':
    hint = f', or {_FRESH_HEAD}'
  raise ValueError(
      f'{where}: {array.name} is {array.shape}, the model needs {shape} for'
      f' {name}; set {setting} to that of the weights{hint}'
  )


def setting_of(name: str, have: tuple[int, ...], want: tuple[int, ...]) -> str:
  """Returns the setting by which two shapes of an array differ.

  Args:
    name: of the array.
    have: one shape.
    want: the other, of the model in question.
  """
  settings = next(s for end, s in _SETTINGS if re.search(f'{end}$', name))
  # A stack has an axis more. Of experts made from an MLP, the shapes are those
  # of one expert.
  count = min(len(settings), len(want))
  differ = (
      s
      for s, a, b in zip(settings[-count:], have[-count:], want[-count:])
      if a != b
  )
  return next(differ, settings[-count])


def _interpolated(table: LazyArray, shape: tuple[int, ...]) -> LazyArray:
  """Returns positions [n², D] as [m², D]."""
  if table.shape == shape:
    return table
  old, new = math.isqrt(table.shape[0]), math.isqrt(shape[0])

  def read(index):
    grid = table.whole().reshape(old, old, -1).astype(np.float32)
    grid = ndimage.zoom(grid, (new / old, new / old, 1), order=1)
    return grid.reshape(shape)[index]

  return LazyArray(table.name, shape, read)


def _experts(
    mlp: LazyArray, name: str, count: int, changes: Changes
) -> LazyArray:
  """Returns one array of an MLP as those of `count` experts."""

  def read(index):
    whole = mlp.whole().astype(np.float32)
    is_kernel = whole.ndim > 1
    stddev = changes.noise * float(whole.std()) if is_kernel else 0.0
    rest = index[1:]

    def expert(i):
      if not stddev:
        return whole[rest]
      # By name and expert, so that every part of it is the same in every
      # reading, and layers and experts differ.
      seed = (changes.seed, zlib.crc32(name.encode()), i)
      noise = np.random.default_rng(seed).normal(0, stddev, whole.shape)
      return (whole + noise.astype(np.float32))[rest]

    return np.stack([expert(i) for i in range(*index[0].indices(count))])

  return LazyArray(mlp.name, (count, *mlp.shape), read)
