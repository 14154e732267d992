"""Data sets of TensorFlow Datasets: their files, keys and classes.

All functions raise a one-line ValueError that says what to change.
"""

from collections.abc import Sequence
from typing import Any

from pax_softmoe import compat


def builder(name: str) -> Any:
  """Returns the `tfds.core.DatasetBuilder` of a name.

  Raises:
    ValueError: TensorFlow Datasets is not installed, or knows no such data set.
  """
  try:
    import tensorflow_datasets as tfds
  except ImportError as error:
    raise ValueError(
        f'tfds:{name} needs TensorFlow Datasets; install it by'
        ' `pip install tensorflow-datasets`'
    ) from error
  try:
    return tfds.builder(name)
  except Exception as error:  # It has a class for each reason.
    reason = str(error).strip().splitlines()[0]
    raise ValueError(f'tfds:{name} cannot be used: {reason}') from error


def keys(of: Any) -> tuple[str, str, Sequence[str]]:
  """Returns the keys of a data set's image and labels, and its classes' names.

  Args:
    of: a builder.

  Raises:
    ValueError: it has no image with one class or several, or several of them.
  """
  import tensorflow_datasets as tfds

  features = dict(of.info.features)
  images = [
      k for k, f in features.items() if isinstance(f, tfds.features.Image)
  ]
  labels = {}
  for key, feature in features.items():
    feature = getattr(feature, 'feature', feature)  # What a Sequence is of.
    if isinstance(feature, tfds.features.ClassLabel):
      labels[key] = feature.names
  for key in ('label', 'labels'):
    if key in labels:
      labels = {key: labels[key]}
  if len(images) != 1 or len(labels) != 1:
    raise ValueError(
        f'tfds:{of.info.full_name} has the features {", ".join(features)};'
        ' one image with a class label is needed, choose another data set'
    )
  ((label, names),) = labels.items()
  return images[0], label, tuple(names)


def pattern(of: Any) -> str:
  """Returns the names of a split's files, `{split}` standing for its name.

  Args:
    of: a builder.

  Raises:
    ValueError: the files are not there, or no TFRecords.
  """
  if not compat.is_prepared(of):
    raise ValueError(
        f'{of.data_dir}: the files of tfds:{of.info.full_name} are not there;'
        ' prepare them by `softmoe data` or `tfds build`, or set TFDS_DATA_DIR'
    )
  suffix = of.info.file_format.file_suffix
  if suffix != 'tfrecord':
    raise ValueError(
        f'{of.data_dir}: files of the format {suffix}; prepare them again as'
        ' tfrecord, or write them anew by `softmoe data`'
    )
  return f'{of.name}-{{split}}.{suffix}*'
