"""Finds the files of a split by their names.

The files of a split are called like train-00002-of-00008.tfrecord, and all of
them must be there; or, where nobody numbered them so, like train-2.tfrecord. A
split whose name begins another's, as in train-extra-00000-of-00001.tfrecord,
has nothing of that one.
"""

from collections.abc import Sequence
import re

from etils import epath
from pax_softmoe import files as running_files

_SHARD = re.compile(r'-(\d+)-of-(\d+)')
# What may follow the name of a split, if nothing but a number is wanted.
_NUMBERED = re.compile(r'[-_]?(\d+(-of-\d+)?)?(\..*)?')

# What readers and copies in progress put beside the files.
_BESIDE = ('.idx', '.index', '.part', '.tmp', '.crc', '.md5')


def find(folder: epath.PathLike, pattern: str, split: str) -> list[str]:
  """Returns the sorted paths of the files of a split.

  Args:
    folder: where they are.
    pattern: their names, `{split}` standing for that of the split.
    split: the split.

  Raises:
    ValueError: there is no such folder or file, one of the files is empty, or
      some are missing.
  """
  folder = epath.Path(folder)
  if not running_files.is_folder(folder):
    raise ValueError(
        f'{folder}: there is no such folder; give the one that holds the'
        ' TFRecord files'
    )
  wanted = pattern.format(split=split)
  files = {
      f.name: f for f in folder.glob(wanted) if not f.name.endswith(_BESIDE)
  }
  names = _of_split(folder, pattern, split, sorted(files))
  if not names:
    raise ValueError(
        f'{folder / wanted}: no file has such a name; give a folder with files'
        f' of the split {split}, or write pictures as such by `softmoe data`'
    )
  _check_complete(folder, names)
  for name in names:
    if not files[name].stat().length:
      raise ValueError(f'{files[name]}: the file is empty; copy it again')
  return [str(files[name]) for name in names]


def has(folder: epath.PathLike, pattern: str, split: str) -> bool:
  """Returns whether there are files of a split, all or some; see `find`."""
  folder = epath.Path(folder)
  names = sorted(
      f.name
      for f in folder.glob(pattern.format(split=split))
      if not f.name.endswith(_BESIDE)
  )
  return bool(_of_split(folder, pattern, split, names))


def _of_split(
    folder: epath.Path, pattern: str, split: str, names: Sequence[str]
) -> list[str]:
  """Returns those of the names that are not another split's.

  Raises:
    ValueError: it cannot be told.
  """
  before, _, after = pattern.partition('{split}')
  if re.search(r'[*?\[]', before):  # Then the name says where its split is.
    return list(names)
  literal = re.match(r'[^*?\[]*', after)[0]
  start = len(before + split + literal)
  numbered = [n for n in names if _NUMBERED.fullmatch(n[start:])]
  if numbered:
    return numbered
  # Names like train-part-2.tfrecord are as good if there is but one kind. With
  # '-of-' in them they would be those of a split 'train-part'.
  others = [n for n in names if not _SHARD.search(n[start - 1 :])]
  kinds = sorted({re.sub(r'\d+', '', n) for n in others})
  if len(kinds) > 1:
    raise ValueError(
        f'{folder}: {", ".join(kinds)} may be files of {split} or of other'
        f' splits; name those of {split} like {split}-00000-of-00002.tfrecord'
    )
  return others


def _check_complete(folder: epath.Path, names: Sequence[str]) -> None:
  """Raises a ValueError if a file that the others count is missing."""
  found = {}
  for name in names:
    for index, count in _SHARD.findall(name)[-1:]:
      where = _SHARD.sub('-*', name)
      previous = found.setdefault((int(count), int(index)), name)
      if previous != name:
        raise ValueError(
            f'{folder}: {previous} and {name} are the same part of {where};'
            ' remove one of them'
        )
  counts = sorted({count for count, _ in found})
  if len(counts) > 1:
    examples = [
        next(n for (c, _), n in found.items() if c == k) for k in counts
    ]
    raise ValueError(
        f'{folder}: {" and ".join(examples)} are of data in {counts[0]} and in'
        f' {counts[1]} files; remove those of one'
    )
  if counts and len(found) < len(names):
    rest = next(n for n in names if n not in found.values())
    raise ValueError(
        f'{folder}: {rest} is not numbered as {names[0]} is; remove it, or'
        ' number all files'
    )
  missing = [
      i for count in counts for i in range(count) if (count, i) not in found
  ]
  if missing:
    name = next(iter(found.values()))
    width = len(_SHARD.findall(name)[-1][0])
    raise ValueError(
        f'{folder}: {len(missing)} of {counts[0]} files like {name} are'
        f' missing, such as number {missing[0]:0{width}d}; copy them'
    )
