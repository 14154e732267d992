"""What `softmoe data` says of the TFRecords that it wrote.

DATA_DIR/manifest.json holds

  classes      names in the order of the labels
  multi_label  whether an image has several
  splits       of each split: examples, examples of each class, and of each file
               its name, examples, bytes and SHA-256
  image_sizes  [height, width] in pixels of the smallest and largest, by area
  rewritten    how many pictures were rewritten, by the reason, see `pictures`
  notes        what was left out, in sentences
  source       what it was made from

What is read here is checked against `Manifest`, which leaves the last four to
people.
"""

from collections.abc import Sequence
import dataclasses
import functools
import hashlib
from typing import Annotated

from etils import epath
from pax_softmoe.data.read import sources
from pax_softmoe.data.read import tfrecord_files
import pydantic

NAME = 'manifest.json'
# Bytes of a data set whose records are counted before it is used.
_COUNTED = 2**30
_REMEDY = 'make the data again by `softmoe data`, or remove this file'

_Count = Annotated[int, pydantic.Field(ge=0)]


class File(pydantic.BaseModel, strict=True):
  """A file of a split."""

  name: Annotated[str, pydantic.Field(pattern=r'^[^/\\]+$')]
  examples: _Count
  bytes: _Count
  sha256: str


class Split(pydantic.BaseModel, strict=True):
  """A part of the data set."""

  examples: _Count
  files: list[File]


class Manifest(pydantic.BaseModel, strict=True):
  """All that a reader needs to know."""

  classes: Annotated[list[str], pydantic.Field(min_length=1)]
  multi_label: bool
  splits: Annotated[dict[str, Split], pydantic.Field(min_length=1)]


@functools.cache
def _read(path: str) -> Manifest:
  """Returns what a manifest says; raises a ValueError if it is none."""
  try:
    read = Manifest.model_validate_json(epath.Path(path).read_bytes())
  except pydantic.ValidationError as error:
    first = error.errors()[0]
    field = '.'.join(map(str, first['loc']))
    what = f'{field}: {first["msg"]}' if field else first['msg']
    raise ValueError(f'{path}: {what}; {_REMEDY}') from error
  for name, split in read.splits.items():
    count = sum(file.examples for file in split.files)
    if split.examples != count:
      raise ValueError(
          f'{path}: splits.{name}.examples is {split.examples}, its files have'
          f' {count}; {_REMEDY}'
      )
  names = [file.name for split in read.splits.values() for file in split.files]
  for name in names:
    if names.count(name) > 1:
      raise ValueError(
          f'{path}: {name} is listed {names.count(name)} times; {_REMEDY}'
      )
  return read


def sha256(path: epath.Path) -> str:
  """Returns the SHA-256 of a file as hexadecimal digits."""
  digest = hashlib.sha256()
  with path.open('rb') as stream:
    while chunk := stream.read(2**20):
      digest.update(chunk)
  return digest.hexdigest()


def source(data_dir: str) -> 'ManifestImages':
  """Returns the images of a folder with a manifest."""
  read = _read(str(epath.Path(data_dir) / NAME))
  return ManifestImages(
      data_dir=str(data_dir),
      num_classes=len(read.classes),
      splits=tuple(read.splits),
      class_names=tuple(read.classes),
      multi_label=read.multi_label,
  )


@dataclasses.dataclass(frozen=True)
class ManifestImages(sources.TFRecordImages):
  """TFRecord files beside a manifest, which says how many examples they have."""

  def shard_sizes(self, split: str) -> Sequence[int]:
    self.check_split(split)
    return [file.examples for file in self._listed(split)]

  def check(self, full: bool = False) -> None:
    """Raises a ValueError if the files are not those of the manifest.

    Args:
      full: compare checksums, count the records and read all of them. Otherwise
        sizes are compared, records of less than a gibibyte counted, and those
        read that `TFRecordImages.check` reads.
    """
    listed = [file for split in self.splits for file in self._listed(split)]
    is_small = sum(file.bytes for file in listed) <= _COUNTED
    for file in listed:
      path = self._path(file)
      size = path.stat().length if path.exists() else 'missing'
      if size != file.bytes or (full and sha256(path) != file.sha256):
        raise ValueError(
            f'{path}: not the file of the manifest ({file.bytes} bytes,'
            f' here {size}); copy it again'
        )
      if full or is_small:
        count = tfrecord_files.count_records(path)
        if count != file.examples:
          raise ValueError(
              f'{path}: it has {count} records, {file.examples} by the'
              f' manifest; copy both again, or {_REMEDY}'
          )
    self.check_records([str(self._path(file)) for file in listed], full)

  def _files(self, split: str) -> list[str]:
    return [str(self._path(file)) for file in self._listed(split)]

  def _path(self, file: File) -> epath.Path:
    return epath.Path(self.data_dir) / file.name

  def _listed(self, split: str) -> list[File]:
    read = _read(str(epath.Path(self.data_dir) / NAME))
    return read.splits[split].files
