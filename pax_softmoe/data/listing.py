"""Finds images and their labels, to be written as TFRecords by `writing`.

  folder       class per sub-folder, maybe below one folder per split
  csv_file     a table of paths and labels, several labels per image if wanted
  tfds         a data set of TensorFlow Datasets, by name

Errors raise a one-line ValueError that says what is wrong and what to change.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import csv
import dataclasses
import hashlib
from typing import Any

from etils import epath
from pax_softmoe.data import tfds_files

_SPLIT_FOLDERS = {
    'train': 'train',
    'training': 'train',
    'validation': 'validation',
    'val': 'validation',
    'valid': 'validation',
    'test': 'test',
}


@dataclasses.dataclass(frozen=True)
class Example:
  """One image.

  Attributes:
    name: its path, or its place in a data set.
    labels: indices of its classes, at least one.
    load: returns the bytes of the file; raises OSError if there is none.
  """

  name: str
  labels: tuple[int, ...]
  load: Callable[[], bytes]


@dataclasses.dataclass(frozen=True)
class Listing:
  """Images of a data set.

  Attributes:
    classes: names, in the order of the labels.
    splits: examples by split, in the order to write them.
    sizes: numbers of examples by split.
  """

  classes: Sequence[str]
  splits: dict[str, Iterable[Example]]
  sizes: dict[str, int]


def folder(path: epath.PathLike, validation_fraction: float) -> Listing:
  """Lists PATH/CLASS/IMAGE, or PATH/SPLIT/CLASS/IMAGE.

  Args:
    path: if all its sub-folders are called like splits (train, val, validation,
      test) they are. Files whose name begins with a dot are left out.
    validation_fraction: see `split_off`.

  Raises:
    ValueError: there is no such folder, class or image.
  """
  path = epath.Path(path)
  found = _sub_folders(path)
  if not found:
    raise ValueError(
        f'{path}: there are no sub-folders; put the images of each class into a'
        ' sub-folder named after it'
    )
  if all(f.name in _SPLIT_FOLDERS for f in found):
    parts = [(_SPLIT_FOLDERS[f.name], f) for f in found]
  else:
    parts = [('train', path)]
  classes = sorted({f.name for _, part in parts for f in _sub_folders(part)})
  if not classes:
    raise ValueError(
        f'{path}: the splits have no sub-folders; put the images of each class'
        ' into a sub-folder of its split'
    )
  splits = {}
  for split, part in parts:
    examples = splits.setdefault(split, [])
    for sub in _sub_folders(part):
      label = (classes.index(sub.name),)
      for file in sorted(sub.iterdir()):
        if not file.name.startswith('.') and not file.is_dir():
          name = str(file.relative_to(path))
          examples.append(Example(name, label, file.read_bytes))
  return _listing(str(path), classes, splits, validation_fraction)


def csv_file(path: epath.PathLike, validation_fraction: float) -> Listing:
  """Lists what a table says.

  Args:
    path: a CSV file with the columns `path`, relative to the file's folder,
      `label`, with ';' between several, and perhaps `split`. Labels that are all
      numbers are indices of classes, others are their names.
    validation_fraction: see `split_off`.

  Raises:
    ValueError: the file is missing, or a column, or what should be in one.
  """
  path = epath.Path(path)
  try:
    lines = path.read_text().splitlines()
  except (OSError, UnicodeError) as error:
    raise ValueError(f'{path}: cannot be read as text: {error}') from None
  rows = csv.DictReader(lines)
  missing = {'path', 'label'} - set(rows.fieldnames or ())
  if missing:
    raise ValueError(
        f'{path}: there is no column {min(missing)!r} among'
        f' {rows.fieldnames or []}; name the columns path, label and, if'
        ' wanted, split in the first line'
    )
  read = []
  for row in rows:
    labels = [x.strip() for x in (row['label'] or '').split(';') if x.strip()]
    split = (row.get('split') or 'train').strip()
    if not row['path'] or not labels or split not in _SPLIT_FOLDERS:
      raise ValueError(
          f'{path}, line {rows.line_num}: it needs a path, at least one label'
          ' and, if there is a column for it, a split among'
          f' {", ".join(_SPLIT_FOLDERS)}'
      )
    read.append((row['path'], labels, _SPLIT_FOLDERS[split]))
  names = {label for _, labels, _ in read for label in labels}
  if all(name.isdecimal() for name in names):
    classes = [str(i) for i in range(max(map(int, names), default=-1) + 1)]
    index = {name: int(name) for name in names}
  else:
    classes = sorted(names)
    index = {name: i for i, name in enumerate(classes)}
  splits = {}
  for name, labels, split in read:
    labels = tuple(sorted({index[label] for label in labels}))
    load = (path.parent / name).read_bytes
    splits.setdefault(split, []).append(Example(name, labels, load))
  return _listing(str(path), classes, splits, validation_fraction)


@dataclasses.dataclass(frozen=True)
class _TfdsExamples:
  """The examples of a part of a data set, read as they are asked for.

  Attributes:
    builder: of the data set.
    part: a split, or a slice of one.
    image_key: feature with the image.
    label_key: feature with its label or labels.
  """

  builder: Any
  part: str
  image_key: str
  label_key: str

  def __iter__(self) -> Iterator[Example]:
    import tensorflow_datasets as tfds

    examples = self.builder.as_dataset(
        split=self.part,
        decoders={self.image_key: tfds.decode.SkipDecoding()},
        shuffle_files=False,
    )
    for i, example in enumerate(examples.as_numpy_iterator()):
      encoded, labels = example[self.image_key], example[self.label_key]
      yield Example(
          f'{self.part}, example {i}',
          tuple(int(label) for label in labels.reshape(-1)),
          lambda encoded=encoded: encoded,
      )


def tfds(name: str, validation_fraction: float) -> Listing:
  """Lists a data set of TensorFlow Datasets, downloading it if need be.

  Args:
    name: of the data set, and its configuration or version if wanted.
    validation_fraction: share of 'train' that becomes 'validation': its end.

  Raises:
    ValueError: TensorFlow Datasets is missing, has no such data set, or the data
      set has no images with labels.
  """
  builder = tfds_files.builder(name)
  image_key, label_key, classes = tfds_files.keys(builder)
  try:
    builder.download_and_prepare()
  except Exception as error:  # Of any library that a data set downloads with.
    raise ValueError(
        f'tfds:{name} cannot be prepared: {str(error).splitlines()[0]}'
    ) from error
  sizes = {
      split: info.num_examples for split, info in builder.info.splits.items()
  }
  parts = {split: split for split in sizes}
  if validation_fraction:
    if 'validation' in sizes or 'train' not in sizes:
      raise ValueError(
          f'tfds:{name} has the splits {", ".join(sizes)}; leave out'
          ' --validation_fraction'
      )
    count = round(validation_fraction * sizes['train'])
    parts |= {'train': f'train[:-{count}]', 'validation': f'train[-{count}:]'}
    sizes |= {'train': sizes['train'] - count, 'validation': count}
  splits = {
      split: _TfdsExamples(builder, part, image_key, label_key)
      for split, part in parts.items()
  }
  return Listing(classes, splits, sizes)


def split_off(
    examples: Sequence[Example], fraction: float
) -> tuple[list[Example], list[Example]]:
  """Returns the examples without a part of them, and that part.

  Which they are depends on nothing but their names: of each class (the first of
  several) those that a hash puts first, rounded to whole images. Adding images
  moves few others.

  Args:
    examples: in any order.
    fraction: share of each class, in [0, 1).
  """
  by_class = {}
  for example in sorted(examples, key=_hash):
    by_class.setdefault(example.labels[0], []).append(example)
  kept, part = [], []
  for members in by_class.values():
    count = round(fraction * len(members))
    part += members[:count]
    kept += members[count:]
  return kept, part


def _listing(
    where: str,
    classes: Sequence[str],
    splits: dict[str, list[Example]],
    validation_fraction: float,
) -> Listing:
  """Returns what was found, in random order; see `split_off`."""
  if validation_fraction:
    if 'validation' in splits or not splits.get('train'):
      raise ValueError(
          f'{where} has the splits {", ".join(splits)}; leave out'
          ' --validation_fraction'
      )
    splits['train'], splits['validation'] = split_off(
        splits['train'], validation_fraction
    )
  for split, examples in splits.items():
    if not examples:
      raise ValueError(
          f'{where}: there is no image in {split}; put some there, or change'
          ' --validation_fraction'
      )
  if not splits:
    raise ValueError(f'{where}: there is no image; list some')
  # A training job shuffles within a buffer only.
  ordered = {s: sorted(examples, key=_hash) for s, examples in splits.items()}
  return Listing(classes, ordered, {s: len(e) for s, e in ordered.items()})


def _hash(example: Example) -> bytes:
  return hashlib.sha256(example.name.encode()).digest()


def _sub_folders(path: epath.Path) -> list[epath.Path]:
  if not path.is_dir():
    raise ValueError(f'{path}: there is no such folder; give one of images')
  return sorted(
      p for p in path.iterdir() if p.is_dir() and not p.name.startswith('.')
  )


def find(source: str, validation_fraction: float) -> Listing:
  """Returns the images of a source, a word on the command line.

  Args:
    source: a folder, a CSV file, or 'tfds:NAME'.
    validation_fraction: share of the training images to split off.

  Raises:
    ValueError: see the functions of each kind, or the fraction is none.
  """
  if not 0 <= validation_fraction < 1:
    raise ValueError(
        f'--validation_fraction is {validation_fraction}; give 0 or more, and'
        ' less than 1'
    )
  if source.startswith('tfds:'):
    return tfds(source.removeprefix('tfds:'), validation_fraction)
  if source.endswith('.csv'):
    return csv_file(source, validation_fraction)
  return folder(source, validation_fraction)
