"""Whether the checkpoints of a job are whole, without PaxML and the model."""

from collections.abc import Iterable
from collections.abc import Mapping
import dataclasses
import io
import itertools
import json
import os
import re
from typing import Any
import zipfile

from etils import epath
from pax_softmoe.checkpoints import checksums

DamageError = checksums.DamageError

_STEP = re.compile(r'checkpoint_(\d+)')
_METADATA = 'metadata/metadata'
# bfloat16 is the only dtype of JAX that zarr has no letters for.
_DTYPES = {'<f4': 'float32', '<f8': 'float64', '<f2': 'float16'} | {
    f'{order}{kind}{size}': f'{word}{8 * size}'
    for order, sizes in (('<', (2, 4, 8)), ('|', (1,)))
    for kind, word in (('i', 'int'), ('u', 'uint'))
    for size in sizes
}


@dataclasses.dataclass(frozen=True)
class Findings:
  """What was found in the folder of a checkpoint.

  Attributes:
    problems: what is wrong, each beginning with a file's name.
    has_checksums: whether contents were compared with checksums.
    extra: names of files that are none of the checkpoint's.
    files: how many it has.
    bytes: of them together; 0 if there are no checksums.
  """

  problems: list[str]
  has_checksums: bool = False
  extra: list[str] = dataclasses.field(default_factory=list)
  files: int = 0
  bytes: int = 0


def steps(job_dir: os.PathLike) -> list[int]:
  """Returns the steps of all finished checkpoints of a job, ascending."""
  folder = epath.Path(job_dir) / 'checkpoints'
  names = [p.name for p in folder.iterdir()] if folder.exists() else []
  matches = (_STEP.fullmatch(name) for name in names)
  return sorted(int(match[1]) for match in matches if match)


def is_unfinished(name: str) -> bool:
  """Returns whether that is the folder of a save that did not end."""
  return re.match(r'checkpoint_\d+\.orbax-checkpoint-tmp-', name) is not None


def folder_of(job_dir: os.PathLike, step: int) -> epath.Path:
  """Returns the folder of the checkpoint of a step."""
  return epath.Path(job_dir) / 'checkpoints' / f'checkpoint_{step:08d}'


def find(job_dir: os.PathLike, step: int | None) -> int:
  """Returns the step of a checkpoint that a job has.

  Args:
    job_dir: the job_log_dir of the job.
    step: which; None for the last.

  Raises:
    ValueError: there is none.
  """
  found = steps(job_dir)
  if not found:
    raise ValueError(f'{job_dir} holds no finished checkpoint; train first')
  if step is None:
    return found[-1]
  if step not in found:
    raise ValueError(
        f'{job_dir} holds no checkpoint of step {step}; it has'
        f' {", ".join(map(str, found))}'
    )
  return step


def inspect(folder: os.PathLike) -> Findings:
  """Looks at all of a checkpoint.

  With checksums every file is compared with its own. Without, what holds
  together the arrays must be there, and every part of them must be readable;
  whether the numbers are those that were written cannot be told.

  Args:
    folder: of the checkpoint.
  """
  folder = epath.Path(folder)
  if problem := folder_problem(folder):
    return Findings([problem])
  names = checksums.files(folder)
  try:
    entries = checksums.read(folder)
  except DamageError as error:
    return Findings([str(error)], True, files=len(names))
  if entries is None:
    problems = structure(folder) or _undecodable(folder)
    return Findings(problems, files=len(names))
  return Findings(
      checksums.problems(folder, list(entries), entries),
      True,
      sorted(set(names) - set(entries)),
      len(entries),
      sum(size for size, _ in entries.values()),
  )


def problems(
    folder: os.PathLike, index: int = 0, count: int = 1, contents: bool = True
) -> list[str]:
  """Returns what is wrong with a share of a checkpoint, as in `Findings`.

  Args:
    folder: of the checkpoint.
    index: which of equal shares to look at.
    count: of shares.
    contents: whether to compare files with their checksums, if it has some.
  """
  folder = epath.Path(folder)
  if problem := folder_problem(folder):
    return [problem]
  if contents:
    try:
      entries = checksums.read(folder)
    except DamageError as error:
      return [str(error)]
    if entries is not None:
      return checksums.problems(folder, list(entries)[index::count], entries)
  return structure(folder, index, count)


def is_ocdbt(folder: epath.Path) -> bool:
  """Returns whether the arrays of a checkpoint are in OCDBT's few files."""
  return (folder / 'state' / 'manifest.ocdbt').exists()


def folder_problem(folder: epath.Path) -> str | None:
  """Returns what is wrong with a folder before any file is looked at."""
  if not folder.is_dir():
    return 'it is a file and no folder' if folder.exists() else 'it is missing'
  if not any(folder.iterdir()):
    return 'it is empty'
  return None


def structure(folder: epath.Path, index: int = 0, count: int = 1) -> list[str]:
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


def metadata_problem(folder: epath.Path) -> str | None:
  """Returns what is wrong with a checkpoint's folder and metadata."""
  if problem := folder_problem(folder):
    return problem
  try:
    weights_of_metadata(folder)
  except DamageError as error:
    return str(error)
  return None


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


def _undecodable(folder: epath.Path) -> list[str]:
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


def damage(folder: os.PathLike, found: list[str]) -> DamageError:
  """Returns the error to raise for a damaged checkpoint.

  Its one line says what is wrong with which file, and from which step the job
  can go on. To find that, other checkpoints are read.

  Args:
    folder: of the checkpoint.
    found: what is wrong with it, as in `Findings`.
  """
  damaged = epath.Path(folder)
  what = f'{folder}{": " if found[0].startswith("it ") else "/"}{found[0]}'
  more = len(found) - 1
  job_dir = damaged.parent.parent
  if more:
    what += (
        f' (and {more} more file{"s" * (more > 1)}: see'
        f' `softmoe verify {job_dir}`)'
    )
  removed = [damaged]
  for step in reversed(steps(job_dir)):
    other = folder_of(job_dir, step)
    if other == damaged:
      continue
    if not inspect(other).problems:
      names = ' and '.join(map(str, sorted(removed)))
      word = 'folder' if len(removed) == 1 else 'folders'
      return DamageError(
          f'{what}; remove the {word} {names} to go on from step {step}'
      )
    removed.append(other)
  return DamageError(
      f'{what}; no other checkpoint is whole: start afresh in another folder'
  )
