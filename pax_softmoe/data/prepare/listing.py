"""Finds images and their labels, to be written as TFRecords by `writing`.

  folder    class per sub-folder, maybe below one folder per split
  csv_file  a table of paths and labels, several labels per image if wanted
  tfds      a data set of TensorFlow Datasets, by name

Errors raise a one-line ValueError that says what is wrong and what to change.
"""

from collections.abc import Iterator
import dataclasses
from typing import Any

from etils import epath
from pax_softmoe.data.prepare import examples
from pax_softmoe.data.prepare import folders
from pax_softmoe.data.prepare import tables
from pax_softmoe.data.read import tfds_files

Example = examples.Example
Listing = examples.Listing
split_off = examples.split_off
folder = folders.folder
csv_file = tables.csv_file


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

    found = self.builder.as_dataset(
        split=self.part,
        decoders={self.image_key: tfds.decode.SkipDecoding()},
        shuffle_files=False,
    )
    for i, example in enumerate(found.as_numpy_iterator()):
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
    if not 0 < count < sizes['train']:
      raise ValueError(
          f'tfds:{name}: {count} of {sizes["train"]} images would be held out;'
          ' change --validation_fraction'
      )
    parts |= {'train': f'train[:-{count}]', 'validation': f'train[-{count}:]'}
    sizes |= {'train': sizes['train'] - count, 'validation': count}
  splits = {
      split: _TfdsExamples(builder, part, image_key, label_key)
      for split, part in parts.items()
  }
  # Their classes are declared, whether there are images or not.
  return Listing(classes, splits, sizes, has_gaps=True)


def find(source: str, validation_fraction: float) -> Listing:
  """Returns the images of a source, a word on the command line.

  Args:
    source: a folder, a CSV or TSV file, or 'tfds:NAME'.
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
  path = epath.Path(source)
  if path.suffix.lower() in tables.SUFFIXES and not path.is_dir():
    return csv_file(path, validation_fraction)
  return folder(path, validation_fraction)
