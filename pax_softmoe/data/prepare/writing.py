"""Writes images as sharded TFRecords with a manifest."""

from collections import Counter
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from concurrent import futures
import csv
import dataclasses
import io
import itertools
import json
import os
from typing import Any

from etils import epath
from pax_softmoe.data.ops import pictures
from pax_softmoe.data.prepare import examples
from pax_softmoe.data.read import manifest
import tensorflow as tf

SKIPPED_NAME = 'skipped.csv'

# Images that are in memory at the same time.
_WINDOW = 256
_UNKNOWN = 'that TensorFlow does not read'


@dataclasses.dataclass(frozen=True)
class BadImage:
  """An image that cannot be used, and why."""

  name: str
  reason: str


class BadImagesError(ValueError):
  """Images cannot be read.

  Attributes:
    images: all of them.
  """

  def __init__(self, images: list[BadImage], total: int):
    super().__init__(
        f'{len(images)} of {total} images cannot be read, so nothing was'
        ' written; correct or remove them, or leave them out by --skip_bad'
    )
    self.images = images


@dataclasses.dataclass(frozen=True)
class _Record:
  """A serialized tf.train.Example.

  Attributes:
    data: its bytes.
    labels: of the image.
    size: of the image.
    rewritten: see `pictures.Picture`.
  """

  data: bytes
  labels: tuple[int, ...]
  size: tuple[int, int]
  rewritten: str


def write(
    found: examples.Listing,
    output: epath.PathLike,
    *,
    source: str,
    images_per_shard: int,
    skip_bad: bool,
    progress: Callable[[], None],
) -> dict[str, Any]:
  """Writes `OUTPUT/SPLIT-00000-of-00008.tfrecord`… and `OUTPUT/manifest.json`.

  Every image is decoded once, and stored as it was, unless TensorFlow would
  read it in another way than a viewer: see `pictures`. Until all is well the
  files are in OUTPUT.part, which is removed if anything fails.

  Args:
    found: the images.
    output: a folder that is not there yet.
    source: of the manifest.
    images_per_shard: of each file but the last of a split.
    skip_bad: leave out images that cannot be read, and list them in
      OUTPUT/skipped.csv.
    progress: called after each image.

  Returns:
    The manifest.

  Raises:
    BadImagesError: images cannot be read, without `skip_bad`.
    ValueError: the output is there already, or no image of a split is left, or
      none to train a class on.
  """
  output = epath.Path(output)
  if images_per_shard < 1:
    raise ValueError(
        f'--images_per_shard is {images_per_shard}; give 1 or more'
    )
  if output.exists():
    raise ValueError(f'{output}: it is there already; give another --output')
  part = output.parent / (output.name + '.part')
  if part.exists():
    part.rmtree()
  part.mkdir(parents=True)
  try:
    made = _write(found, part, source, images_per_shard, skip_bad, progress)
    part.rename(output)
  except BaseException:
    part.rmtree()
    raise
  return made


def _write(
    found: examples.Listing,
    folder: epath.Path,
    source: str,
    images_per_shard: int,
    skip_bad: bool,
    progress: Callable[[], None],
) -> dict[str, Any]:
  """Does what `write` says, in a folder that is there."""
  bad, sizes, splits = [], set(), {}
  rewritten, multi_label = Counter(), False
  counts_of = {}
  for split, members in found.splits.items():
    counts = counts_of[split] = Counter()
    good = _good(_records(members, progress), bad)
    shards = []
    while shard := list(itertools.islice(good, images_per_shard)):
      path = folder / f'{split}-{len(shards):05d}'
      with tf.io.TFRecordWriter(str(path)) as writer:
        for record in shard:
          writer.write(record.data)
          counts.update(record.labels)
          sizes.add(record.size)
          rewritten.update([record.rewritten] if record.rewritten else [])
          multi_label |= len(record.labels) > 1
      shards.append((path, len(shard)))
    if not shards and skip_bad:
      raise ValueError(
          f'none of the {len(bad)} images of {split} can be read, such as'
          f' {bad[0].name}: {bad[0].reason}'
      )
    splits[split] = {
        'examples': sum(count for _, count in shards),
        'examples_of_classes': [counts[i] for i in range(len(found.classes))],
        'files': [
            _name(path, f'{path.name}-of-{len(shards):05d}.tfrecord', count)
            for path, count in shards
        ],
    }
  if bad and not skip_bad:
    raise BadImagesError(bad, sum(found.sizes.values()))
  without = examples.untrained(found.classes, counts_of)
  if not found.has_gaps:
    examples.check_trained(source, without, len(found.classes))
  by_area = sorted(sizes, key=lambda size: (size[0] * size[1], size))
  made = {
      'classes': list(found.classes),
      'multi_label': multi_label,
      'splits': splits,
      'image_sizes': {'smallest': by_area[0], 'largest': by_area[-1]},
      'rewritten': dict(rewritten.most_common()),
      'notes': list(found.notes),
      'source': source,
  }
  if bad:
    table = io.StringIO()
    rows = csv.writer(table)
    rows.writerow(['path', 'reason'])
    rows.writerows((image.name, image.reason) for image in bad)
    (folder / SKIPPED_NAME).write_text(table.getvalue())
  (folder / manifest.NAME).write_text(json.dumps(made, indent=1) + '\n')
  return made


def _name(path: epath.Path, name: str, examples: int) -> dict[str, Any]:
  """Renames a file, and returns what the manifest says of it."""
  path = path.rename(path.parent / name)
  return {
      'name': name,
      'examples': examples,
      'bytes': path.stat().length,
      'sha256': manifest.sha256(path),
  }


def _records(
    members: Iterable[examples.Example], progress: Callable[[], None]
) -> Iterator[_Record | BadImage]:
  """Yields what becomes of each example, in order; several are made at once."""
  members = iter(members)
  with futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    while window := list(itertools.islice(members, _WINDOW)):
      for made in pool.map(_record, window):
        progress()
        yield made


def _good(
    made: Iterable[_Record | BadImage], bad: list[BadImage]
) -> Iterator[_Record]:
  """Yields the records, and adds the others to `bad`."""
  for one in made:
    if isinstance(one, BadImage):
      bad.append(one)
    else:
      yield one


def _record(example: examples.Example) -> _Record | BadImage:
  try:
    picture = _picture(example.load())
  except OSError as error:
    return BadImage(example.name, error.strerror or str(error))
  except ValueError as error:
    return BadImage(example.name, str(error))
  feature = {
      'image': tf.train.Feature(
          bytes_list=tf.train.BytesList(value=[picture.data])
      ),
      'label': tf.train.Feature(
          int64_list=tf.train.Int64List(value=example.labels)
      ),
      'name': tf.train.Feature(
          bytes_list=tf.train.BytesList(value=[example.name.encode()])
      ),
  }
  features = tf.train.Features(feature=feature)
  record = tf.train.Example(features=features)
  data = record.SerializeToString(deterministic=True)
  return _Record(data, example.labels, picture.size, picture.rewritten)


def _picture(encoded: bytes) -> pictures.Picture:
  """Returns a picture that TensorFlow has read as a whole.

  Raises:
    ValueError: it is damaged, or no picture.
  """
  picture = pictures.normalise(encoded)
  if picture.rewritten:
    return picture
  try:
    tf.io.decode_image(encoded, 3)
    return picture
  except tf.errors.OpError:
    # Pillow knows more kinds, and says what is wrong with the others.
    return pictures.normalise(encoded, _UNKNOWN)
