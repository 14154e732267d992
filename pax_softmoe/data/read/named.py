"""Data sets by the words that the setting DATA_DIR takes."""

from collections.abc import Mapping

from etils import epath
from pax_softmoe.data.read import fashion_mnist_images
from pax_softmoe.data.read import manifest
from pax_softmoe.data.read import sources
from pax_softmoe.data.read import tfds_files
from pax_softmoe.data.read import weighted


def find(
    data_dir: str | Mapping[str, float], num_classes: int
) -> sources.ImageSource:
  """Returns the images and labels that a setting means.

  Args:
    data_dir: one of
      a folder that `softmoe data` made, whose manifest says what is in it;
      the folder of the original files of Fashion-MNIST;
      another folder of files train-*.tfrecord* and validation-*.tfrecord*;
      'tfds:NAME', prepared files of TensorFlow Datasets;
      a mapping of any of these to rates, a mixture.
    num_classes: of folders that do not say.

  Raises:
    ValueError: there is no such data set, or TensorFlow Datasets is missing.
  """
  if isinstance(data_dir, Mapping):
    return weighted.MixedImages(
        tuple((find(d, num_classes), rate) for d, rate in data_dir.items())
    )
  if data_dir.startswith('tfds:'):
    return _tfds(data_dir.removeprefix('tfds:'))
  if (epath.Path(data_dir) / manifest.NAME).exists():
    return manifest.source(data_dir)
  if fashion_mnist_images.FashionMnist.is_in(data_dir):
    return fashion_mnist_images.FashionMnist(data_dir)
  return sources.TFRecordImages(data_dir=data_dir, num_classes=num_classes)


def _tfds(name: str) -> sources.TFRecordImages:
  """Returns the files of a prepared data set."""
  builder = tfds_files.builder(name)
  pattern = tfds_files.pattern(builder)
  image_key, label_key, classes = tfds_files.keys(builder)
  return sources.TFRecordImages(
      data_dir=str(builder.data_dir),
      num_classes=len(classes),
      splits=tuple(builder.info.splits),
      pattern=pattern,
      image_key=image_key,
      label_key=label_key,
      class_names=classes,
  )
