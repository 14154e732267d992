"""Finds, counts and checks TFRecord files of encoded images.

All functions raise a one-line ValueError that names the file, says what is
wrong and what to do.
"""

import re
import struct

from etils import epath
import tensorflow as tf


def find(folder: epath.PathLike, pattern: str) -> list[str]:
  """Returns the sorted paths of the files in `folder` that match `pattern`.

  Raises:
    ValueError: there is no such folder or file, or one of the files is empty.
  """
  folder = epath.Path(folder)
  if not folder.is_dir():
    raise ValueError(
        f'{folder}: there is no such folder; set data_dir to the folder that'
        ' holds the TFRecord files'
    )
  files = sorted(folder.glob(pattern))
  if not files:
    raise ValueError(
        f'{folder / pattern}: no file has such a name; set data_dir, splits and'
        ' pattern to what is there'
    )
  for file in files:
    if not file.stat().length:
      raise ValueError(f'{file}: the file is empty; copy it again')
  return [str(file) for file in files]


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


def check(
    file: str, image_key: str, label_key: str, num_classes: int, full: bool
) -> None:
  """Checks records of `file` and decodes the first image.

  Args:
    file: path of the file.
    image_key: the bytes feature that must hold the encoded image.
    label_key: the int64 feature that must hold at least one label.
    num_classes: labels must be in [0, num_classes).
    full: whether to check all records or the first only.

  Raises:
    ValueError: a record is damaged or not as described.
  """
  records = tf.data.TFRecordDataset(file)
  try:
    for index, record in enumerate(records if full else records.take(1)):
      where = f'{file}, record {index}'
      features = _features(where, record.numpy())
      image = _values(where, features, image_key, 'bytes', 'image_key')[0]
      labels = _values(where, features, label_key, 'int64', 'label_key')
      if min(labels) < 0 or max(labels) >= num_classes:
        raise ValueError(
            f'{where}: the labels {labels} are not all within'
            f' 0..{num_classes - 1}; set num_classes to fit the data'
        )
      if index == 0:
        _check_image(where, image)
  except tf.errors.DataLossError as error:
    # The message names TensorFlow's operations around what is of interest.
    found = re.search(r'\w+ record at \d+', error.message)
    reason = found.group() if found else error.message
    raise ValueError(
        f'{file}: not a whole TFRecord file ({reason}); copy it again'
    ) from error


def _features(where: str, record: bytes) -> dict[str, tf.train.Feature]:
  try:
    return dict(tf.train.Example.FromString(record).features.feature)
  except Exception as error:  # Its class depends on the version of protobuf.
    raise ValueError(
        f'{where}: it is not a tf.train.Example; set data_dir to files that'
        ' hold such records'
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
    raise ValueError(
        f'{where}: there is no {kind} feature {key!r} among'
        f' {sorted(features)}; set {setting} to the right one'
    )
  return values


def _check_image(where: str, encoded: bytes) -> None:
  try:
    tf.io.decode_image(encoded, expand_animations=False)
  except tf.errors.InvalidArgumentError as error:
    raise ValueError(
        f'{where}: the image is no readable PNG, JPEG, GIF or BMP file; write'
        ' the record again with one'
    ) from error
