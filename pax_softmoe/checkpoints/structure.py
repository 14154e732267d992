"""What a checkpoint must have, by its metadata and the headers of its arrays."""

from collections.abc import Iterable
from collections.abc import Mapping
import io
import itertools
import json
import os
from typing import Any
import zipfile

from etils import epath
from pax_softmoe.checkpoints import checksums

DamageError = checksums.DamageError

_METADATA = 'metadata/metadata'
# bfloat16 is the only dtype of JAX that zarr has no letters for.
_DTYPES = {'<f4': 'float32', '<f8': 'float64', '<f2': 'float16'} | {
    f'{order}{kind}{size}': f'{word}{8 * size}'
    for order, sizes in (('<', (2, 4, 8)), ('|', (1,)))
    for kind, word in (('i', 'int'), ('u', 'uint'))
    for size in sizes
}


def is_ocdbt(folder: epath.Path) -> bool:
  """Returns whether the arrays of a checkpoint are in OCDBT's few files."""
  return (folder / 'state' / 'manifest.ocdbt').exists()


def problems(folder: epath.Path, index: int = 0, count: int = 1) -> list[str]:
  """Returns what is wrong with metadata, arrays' parts, and input state.

  Args:
    folder: of the checkpoint.
    index: which of equal shares to look at.
    count: of shares.
  """
  try:
    wanted = weights_of_metadata(folder)
  except DamageError as error:
    return [str(error)]
  state = folder / 'state'
  if not state.is_dir():
    return ['state is missing']
  names = {p.name for p in state.iterdir() if p.is_dir()}
  names = sorted(names | {'step', *wanted})
  found = []
  for name in () if is_ocdbt(folder) else names[index::count]:
    found += _array_problems(folder, name, wanted.get(name))
  if (folder / 'train_input').is_dir():
    for path in list((folder / 'train_input').iterdir())[index::count]:
      found += _archive_problems(path)
  return found


def weights_of_metadata(
    folder: epath.Path,
) -> dict[str, tuple[tuple[int, ...], str]]:
  """Returns shape and dtype of each weight by its folder's name.

  Args:
    folder: of the checkpoint.

  Raises:
    DamageError: the metadata are missing or damaged.
  """
  path = folder / _METADATA
  if not path.exists():
    raise DamageError(f'{_METADATA} is missing')
  try:
    tree = json.loads(path.read_bytes())['train_state_metadata']['mdl_vars']
    return dict(_leaves(tree, 'mdl_vars'))
  except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
    raise DamageError(f'{_METADATA} is damaged') from error


def _leaves(tree: Mapping[str, Any], name: str) -> Iterable[tuple[str, Any]]:
  if tree.get('_array_metadata_tag'):
    if not tree['is_optax_masked_node']:
      yield name, (tuple(tree['unpadded_shape']), tree['dtype'])
    return
  for key, value in tree.items():
    yield from _leaves(value, f'{name}.{key}')


def array_of(folder: epath.Path, name: str) -> tuple[tuple[int, ...], str]:
  """Returns shape and dtype of an array that is in a checkpoint.

  Args:
    folder: of the checkpoint.
    name: of the array's folder.

  Raises:
    DamageError: its description is missing or damaged.
  """
  spec = _zarray(folder, name)
  return tuple(spec['shape']), str(_DTYPES.get(spec['dtype'], spec['dtype']))


def _zarray(folder: epath.Path, name: str) -> dict[str, Any]:
  file = f'state/{name}/.zarray'
  try:
    spec = json.loads((folder / file).read_bytes())
    _ = [range(0, s, c) for s, c in zip(spec['shape'], spec['chunks'])]
    _ = spec['dtype'] + spec.setdefault('dimension_separator', '.')
    return spec
  except FileNotFoundError as error:
    raise DamageError(f'{file} is missing') from error
  except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
    raise DamageError(f'{file} is damaged') from error


def _array_problems(
    folder: epath.Path, name: str, wanted: tuple[tuple[int, ...], str] | None
) -> list[str]:
  try:
    spec = _zarray(folder, name)
    found = array_of(folder, name)
  except DamageError as error:
    return [str(error)]
  if wanted and found != wanted:
    return [
        f'state/{name}/.zarray says {found[1]} {list(found[0])}, the metadata'
        f' {wanted[1]} {list(wanted[0])}'
    ]
  have = {path.name for path in (folder / 'state' / name).iterdir()}
  grid = [range(-(-s // c)) for s, c in zip(spec['shape'], spec['chunks'])]
  parts = (
      spec['dimension_separator'].join(map(str, index)) or '0'
      for index in itertools.product(*grid)
  )
  return [f'state/{name}/{p} is missing' for p in parts if p not in have]


def _archive_problems(path: epath.Path) -> list[str]:
  """Returns what is wrong with the saved state of an input."""
  name = f'train_input/{path.name}'
  state = path.read_bytes()
  try:
    # Inputs of others may keep theirs in another form.
    if state[:2] == b'PK':
      with zipfile.ZipFile(io.BytesIO(state)) as archive:
        return [f'{name} is damaged'] if archive.testzip() else []
  except (zipfile.BadZipFile, ValueError, OSError):
    return [f'{name} is damaged']
  return [] if state else [f'{name} is empty']


def undecodable(folder: epath.Path) -> list[str]:
  """Returns arrays that cannot be read to their end."""
  # Most checkpoints need no reading, and this takes a second.
  from pax_softmoe import compat
  import tensorstore

  found = []
  for path in sorted((folder / 'state').iterdir()):
    if path.is_dir() and not is_ocdbt(folder):
      try:
        spec = compat.complete_reads(tensorstore_spec(path))
        tensorstore.open(spec, open=True).result().read().result()
      except ValueError:
        found.append(f'state/{path.name} cannot be read')
  return found


def tensorstore_spec(array: epath.Path) -> dict[str, Any]:
  """Returns what `tensorstore.open` opens an array by."""
  path = os.fspath(array)
  if path.startswith('gs://'):
    bucket, _, rest = path.removeprefix('gs://').partition('/')
    kvstore = {'driver': 'gcs', 'bucket': bucket, 'path': rest}
  else:
    kvstore = {'driver': 'file', 'path': os.path.abspath(path)}
  return {'driver': 'zarr', 'kvstore': kvstore}
