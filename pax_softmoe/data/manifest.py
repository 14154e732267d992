"""What `softmoe data` says of the TFRecords that it wrote.

DATA_DIR/manifest.json holds

  classes      names in the order of the labels
  multi_label  whether an image has several
  splits       of each split: examples, examples of each class, and of each file
               its name, examples, bytes and SHA-256
  image_sizes  [height, width] in pixels of the smallest and largest, by area
  source       what it was made from
"""

from collections.abc import Sequence
import dataclasses
import functools
import hashlib
import json
from typing import Any

from etils import epath
from pax_softmoe.data import sources
from pax_softmoe.data import tfrecord_files

NAME = 'manifest.json'


@functools.cache
def _read(path: str) -> dict[str, Any]:
  try:
    return json.loads(epath.Path(path).read_text())
  except ValueError as error:
    raise ValueError(
        f'{path}: it is no JSON ({error}); make the data again by `softmoe'
        ' data`, or remove this file'
    ) from error


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
      num_classes=len(read['classes']),
      splits=tuple(read['splits']),
      class_names=tuple(read['classes']),
      multi_label=read['multi_label'],
  )


@dataclasses.dataclass(frozen=True)
class ManifestImages(sources.TFRecordImages):
  """TFRecord files beside a manifest, which says how many examples they have."""

  def shard_sizes(self, split: str) -> Sequence[int]:
    self.check_split(split)
    return [file['examples'] for file in self._listed(split)]

  def check(self, full: bool = False) -> None:
    """Raises a ValueError if the files are not those of the manifest.

    Args:
      full: compare checksums and read every record. Otherwise sizes are
        compared and each file's first record is read.
    """
    for split in self.splits:
      for file in self._listed(split):
        path = epath.Path(self.data_dir) / file['name']
        size = path.stat().length if path.exists() else 'missing'
        if size != file['bytes'] or (full and sha256(path) != file['sha256']):
          raise ValueError(
              f'{path}: not the file of the manifest ({file["bytes"]} bytes,'
              f' here {size}); copy it again'
          )
        tfrecord_files.check(
            str(path), self.image_key, self.label_key, self.num_classes, full
        )

  def _files(self, split: str) -> list[str]:
    folder = epath.Path(self.data_dir)
    return [str(folder / file['name']) for file in self._listed(split)]

  def _listed(self, split: str) -> list[dict[str, Any]]:
    manifest = _read(str(epath.Path(self.data_dir) / NAME))
    return manifest['splits'][split]['files']
