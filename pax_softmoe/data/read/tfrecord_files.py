"""Counts and checks records of encoded images in TFRecord files.

All functions raise a one-line ValueError that names the file, says what is
wrong and what to do.
"""

from collections.abc import Callable
import dataclasses
import os
import struct
from typing import Any

from etils import epath
from pax_softmoe.data.ops import pictures
from pax_softmoe.data.read import tf_errors
import tensorflow as tf

# What TensorFlow calls the kinds of values, and people.
_KINDS = {'bytes': 'bytes', 'int64': 'whole numbers', 'float': 'floats'}


@dataclasses.dataclass(frozen=True)
class Format:
  """What a record holds.

  Attributes:
    image_key: the bytes feature with the encoded image.
    label_key: the int64 feature with at least one label.
    num_classes: labels must be in [0, num_classes).
  """

  image_key: str
  label_key: str
  num_classes: int

  def features(self) -> dict[str, Any]:
    """Returns what `tf.io.parse_single_example` needs."""
    return {
        self.image_key: tf.io.FixedLenFeature([], tf.string),
        self.label_key: tf.io.FixedLenSequenceFeature(
            [], tf.int64, allow_missing=True
        ),
    }


def count_records(file: epath.PathLike) -> int:
  """Returns the number of records in `file`, reading only their lengths.

  Raises:
    ValueError: the last record does not end where the file ends.
  """
  # A record is its length (uint64), 4 bytes of checksum, the data, and 4 more
  # bytes of checksum.
  path = epath.Path(file)
  size = path.stat().length
  count = end = 0
  with path.open('rb') as stream:
    _check_plain(path, stream.read(2))
    while end + 12 <= size:
      stream.seek(end)
      (length,) = struct.unpack('<Q', stream.read(8))
      end += 16 + length
      count += 1
  if end != size:
    raise ValueError(
        f'{path}: its records end at byte {end}, the file at {size}; it is'
        ' truncated or no TFRecord file, copy it again'
    )
  return count


def _check_plain(file: epath.PathLike, start: bytes) -> None:
  if start == b'\x1f\x8b':
    raise ValueError(f'{file}: it is compressed; unpack it by gunzip')


def check(
    file: str,
    form: Format,
    convert: Callable[[dict[str, tf.Tensor]], Any],
    *,
    limit: int = -1,
    single_label: bool = False,
) -> None:
  """Reads records of `file`, and says what is wrong with the first bad one.

  Args:
    file: path of the file.
    form: what its records hold.
    convert: what is done with each `image` and `label`, in TensorFlow.
    limit: how many records; -1 for all.
    single_label: whether more than one label is wrong.

  Raises:
    ValueError: a record is damaged or not as described.
  """
  with epath.Path(file).open('rb') as stream:
    _check_plain(file, stream.read(2))

  def read(record: tf.Tensor):
    parsed = tf.io.parse_single_example(record, form.features())
    return convert({
        'image': parsed[form.image_key],
        'label': parsed[form.label_key],
    })

  records = tf.data.TFRecordDataset(file)
  examples = records.take(limit).map(
      read, num_parallel_calls=os.cpu_count(), deterministic=True
  )
  try:
    # Much faster than in Python, but it forgets how far it came.
    examples.reduce(0, lambda count, *_: count + 1)
    return
  except tf_errors.ERRORS:
    pass
  good = 0
  try:
    for _ in examples:
      good += 1
  except tf.errors.DataLossError as error:
    raise ValueError(
        f'{file}: not a whole TFRecord file ({tf_errors.damage(error)}); copy'
        ' it again'
    ) from error
  except tf_errors.ERRORS as error:
    where = f'{file}, record {good}'
    (record,) = records.skip(good).take(1).as_numpy_iterator()
    _check_record(where, record, form, single_label)
    raise ValueError(
        f'{where}: {tf_errors.reason(error)}; write the record again, or'
        ' change what is done with it'
    ) from error


def _check_record(
    where: str, record: bytes, form: Format, single_label: bool
) -> None:
  """Raises a ValueError if a record is not as described."""
  try:
    features = dict(tf.train.Example.FromString(record).features.feature)
  except Exception as error:  # Its class depends on the version of protobuf.
    raise ValueError(
        f'{where}: it is not a tf.train.Example; set data_dir to files that'
        ' hold such records'
    ) from error
  # What `softmoe data` calls an image.
  for name in features.get('name', tf.train.Feature()).bytes_list.value:
    where = f'{where} ({name.decode(errors="replace")})'
  image = _values(where, features, form.image_key, 'bytes', 'image_key')[0]
  labels = _values(where, features, form.label_key, 'int64', 'label_key')
  if min(labels) < 0 or max(labels) >= form.num_classes:
    raise ValueError(
        f'{where}: the labels {labels} are not all within'
        f' 0..{form.num_classes - 1}; set num_classes (NUM_CLASSES) to'
        ' fit the data'
    )
  if single_label and len(set(labels)) > 1:
    raise ValueError(
        f'{where}: it has the labels {labels}, the softmax loss needs one; set'
        " LOSS to 'sigmoid'"
    )
  try:
    tf.io.decode_image(pictures.normalise(image).data)
  except tf.errors.OpError as error:
    raise ValueError(
        f'{where}: the image is no readable {pictures.FORMATS}'
        f' file ({tf_errors.reason(error)}); write the record again with one'
    ) from error
  except ValueError as error:
    raise ValueError(
        f'{where}: the image is no readable {pictures.FORMATS} file: {error}'
    ) from error


def _values(
    where: str,
    features: dict[str, tf.train.Feature],
    key: str,
    kind: str,
    setting: str,
) -> list:
  feature = features.get(key, tf.train.Feature())
  values = list(getattr(feature, f'{kind}_list').value)
  if not values:
    found = {
        name: _KINDS[(f.WhichOneof('kind') or 'bytes_list')[: -len('_list')]]
        for name, f in sorted(features.items())
    }
    raise ValueError(
        f'{where}: there is no {kind} feature {key!r} among {found}; set'
        f' {setting} to the right one, or write the images by `softmoe data`'
    )
  return values
