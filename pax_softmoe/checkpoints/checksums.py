"""Checksums of the files of a checkpoint.

They are in a file of the checkpoint's own folder, `checksums.json`:

    {"crc32": {"state/step/0": [13, "9a3c2f01"], …}}

with the size in bytes and the CRC-32, as of zip files, of every other file. The
file is written before a checkpoint gets its final name, so that a folder with
one was written to its end.
"""

from collections.abc import Iterable
from collections.abc import Sequence
from concurrent import futures
import json
import os
import re
import zlib

from etils import epath

NAME = 'checksums.json'
_KIND = 'crc32'
_PART = re.compile(r'checksums\.\d+-of-\d+\.json')
# What orbax adds to a checkpoint after it was written, or completes then: the
# last has the times of the write.
_LATER = ('commit_success.txt', 'LOCKED', '_CHECKPOINT_METADATA')
_BLOCK_BYTES = 2**23
# Waiting for storage takes longer than the sums.
_THREADS = 16

Entries = dict[str, tuple[int, str]]


class DamageError(ValueError):
  """A checkpoint is not as it was written."""


def files(folder: os.PathLike) -> list[str]:
  """Returns the files that a checkpoint should have checksums of, by name.

  Args:
    folder: of the checkpoint.
  """
  return sorted(
      name
      for name in _walk(epath.Path(folder), '')
      if name != NAME
      and not _PART.fullmatch(name)
      and not set(_LATER) & set(name.split('/'))
  )


def _walk(folder: epath.Path, prefix: str) -> Iterable[str]:
  for path in folder.iterdir():
    name = prefix + path.name
    if not path.is_dir():
      yield name
    elif not os.path.islink(path):  # It may lead back.
      yield from _walk(path, name + '/')


def share(folder: os.PathLike, index: int, count: int) -> None:
  """Writes the checksums of one of several equal shares of a checkpoint.

  Args:
    folder: of the checkpoint, with all of its files.
    index: which share.
    count: of shares.
  """
  root = epath.Path(folder)
  entries = _make(root, files(root)[index::count])
  _write(root / f'checksums.{index}-of-{count}.json', entries)


def complete(folder: os.PathLike) -> None:
  """Writes the checksums of a checkpoint.

  Args:
    folder: of the checkpoint, with all of its files; what `share` wrote goes
      into the one file.
  """
  root = epath.Path(folder)
  parts = [path for path in root.iterdir() if _PART.fullmatch(path.name)]
  known: Entries = {}
  for path in parts:
    known.update(_read(path))
  names = files(root)
  known.update(_make(root, [name for name in names if name not in known]))
  _write(root / NAME, {name: known[name] for name in names})
  for path in parts:
    path.unlink()


def read(folder: os.PathLike) -> Entries | None:
  """Returns size and checksum of each file by name; None if there are none.

  Args:
    folder: of the checkpoint.

  Raises:
    DamageError: the file of them is damaged.
  """
  path = epath.Path(folder) / NAME
  return _read(path) if path.exists() else None


def _read(path: epath.Path) -> Entries:
  try:
    entries = json.loads(path.read_bytes())[_KIND]
    entries = {name: (int(n), str(crc)) for name, (n, crc) in entries.items()}
  except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
    raise DamageError(f'{NAME} is damaged') from error
  for name in entries:
    if name.startswith('/') or {'', '.', '..'} & set(name.split('/')):
      raise DamageError(f'{NAME} is damaged: it lists {name!r}')
  if not any(name.startswith('state/') for name in entries):
    raise DamageError(f'{NAME} is damaged: it lists no arrays')
  return entries


def _write(path: epath.Path, entries: Entries) -> None:
  # One file a line, for people.
  lines = ',\n'.join(
      f'{json.dumps(k)}: {json.dumps(v)}' for k, v in entries.items()
  )
  path.write_text(f'{{{json.dumps(_KIND)}: {{\n{lines}\n}}}}\n')


def _make(folder: epath.Path, names: Sequence[str]) -> Entries:
  with futures.ThreadPoolExecutor(_THREADS) as pool:
    return dict(zip(names, pool.map(lambda name: _sum(folder / name), names)))


def _sum(path: epath.Path) -> tuple[int, str]:
  """Returns size and checksum of a file."""
  size = crc = 0
  with path.open('rb') as file:
    while block := file.read(_BLOCK_BYTES):
      size += len(block)
      crc = zlib.crc32(block, crc)
  return size, f'{crc:08x}'


def problem(folder: os.PathLike, name: str, entries: Entries) -> str | None:
  """Returns what is wrong with a file, such as 'state/step/0 is missing'.

  Args:
    folder: of the checkpoint.
    name: of the file in it.
    entries: from `read`.
  """
  if name not in entries:
    return f'{name} is not in {NAME}'
  want_size, want_crc = entries[name]
  path = epath.Path(folder) / name
  try:
    size, crc = _sum(path)
  except FileNotFoundError:
    return f'{name} is missing'
  except OSError as error:
    return f'{name} cannot be read ({error.strerror or error})'
  if size != want_size:
    return f'{name} has {size} bytes, {want_size} were written'
  if crc != want_crc:
    return f'{name} is not what was written (another checksum)'
  return None


def problems(
    folder: os.PathLike, names: Sequence[str], entries: Entries
) -> list[str]:
  """Returns what `problem` says of files that something is wrong with."""
  with futures.ThreadPoolExecutor(_THREADS) as pool:
    found = pool.map(lambda name: problem(folder, name, entries), names)
    return [text for text in found if text]
