"""The data sets of the few-shot evaluation."""

from collections.abc import Sequence
import dataclasses
import functools
import pathlib

from etils import epath
import numpy as np
from pax_softmoe import files
from pax_softmoe.data.ops import image_ops
from pax_softmoe.data.read import image_input
from pax_softmoe.data.read import shard_names
from pax_softmoe.data.read import sources
from pax_softmoe.data.read import tf_errors
from praxis import pax_fiddle

EMBEDDED = 'fashion_mnist'
_MOST_CLASSES = 1_000_000


@dataclasses.dataclass(frozen=True)
class FewShotSet:
  """One data set.

  Attributes:
    name: for results.
    source: its images and labels.
    test_split: which split to classify; shots are of 'train'.
    most_shots: training images of the class that has fewest.
    rarest: which class that is.
  """

  name: str
  source: sources.ImageSource
  test_split: str
  most_shots: int
  rarest: str = 'each class'


@functools.cache
def parse(text: str) -> FewShotSet:
  """Returns the data set that a word on the command line means.

  Args:
    text: 'fashion_mnist' for the images in this package, or [NAME=]DIR for a
      folder of files train-*.tfrecord* and test-* or validation-*, with the
      features `image` and `label`, or of the original files of Fashion-MNIST.

  Raises:
    ValueError: the folder holds neither, or records without labels.
  """
  if text == EMBEDDED:
    return FewShotSet(EMBEDDED, sources.EmbeddedFashionMnist(), 'test', 1000)
  name, separator, folder = text.rpartition('=')
  files.exists(folder)  # Raises if that cannot be known.
  folder = epath.Path(folder)
  name = name if separator else pathlib.PurePath(folder).name
  if sources.FashionMnist.is_in(folder):
    return FewShotSet(name, sources.FashionMnist(str(folder)), 'test', 6000)
  tests = [
      split
      for split in ('test', 'validation')
      if folder.is_dir()
      and shard_names.has(folder, '{split}-*.tfrecord*', split)
  ]
  if not tests:
    raise ValueError(
        f'few-shot data {text}: {folder} holds no files test-*.tfrecord* or'
        f' validation-*.tfrecord*; give such a folder, or {EMBEDDED}'
    )
  source = sources.TFRecordImages(
      str(folder),
      num_classes=1,
      name=f'fewshot_{name}',
      splits=('train', tests[0]),
  )
  # All files are read, though no image is decoded.
  train, test = (_labels(source, split) for split in source.splits)
  classes = max(train.max(), test.max()) + 1
  counts = np.bincount(train, minlength=classes)
  return FewShotSet(
      name,
      dataclasses.replace(source, num_classes=int(classes)),
      tests[0],
      int(counts.min()),
      f'class {counts.argmin()}',
  )


def _labels(source: sources.TFRecordImages, split: str) -> np.ndarray:
  """Returns the largest label of each image of a split."""
  examples = source.task().get_dataset(None, split, shuffle=False)
  labels, rest = [], examples.as_numpy_iterator()
  while True:
    try:
      found = next(rest)['label']
    except StopIteration:
      return np.array(labels)
    except tf_errors.ERRORS as error:
      raise ValueError(
          f'few-shot data {source.data_dir}: example {len(labels)} of {split}:'
          f' {tf_errors.reason(error)}; write the data again'
      ) from error
    if not found.size or found.min() < 0 or found.max() >= _MOST_CLASSES:
      raise ValueError(
          f'few-shot data {source.data_dir}: example {len(labels)} of {split}'
          f' has the labels {found.tolist()}; give each one or more, from 0 and'
          f' below {_MOST_CLASSES:,}'
      )
    labels.append(found.max())


@dataclasses.dataclass(frozen=True)
class FewShotPlan:
  """All that the few-shot evaluation of a model needs to know.

  Attributes:
    sets: the data sets.
    shots: training images of each class, several numbers to try.
    seed: of which images those are.
    batch_size: images of one process.
    image_size: height and width in pixels that the model takes.
    channels: of its images.
    ops: what to do with each image, see `image_ops`.
  """

  sets: Sequence[FewShotSet]
  shots: Sequence[int]
  seed: int
  batch_size: int
  image_size: int
  channels: int
  ops: Sequence[image_ops.ImageOp]

  def __post_init__(self):
    if min(self.shots, default=0) < 1:
      raise ValueError(
          f'few-shot evaluation of {tuple(self.shots)} shots; give one or more'
          ' numbers, each 1 or more'
      )
    for s in self.sets:
      if s.most_shots < max(self.shots):
        raise ValueError(
            f'few-shot data {s.name}: {s.rarest} has {s.most_shots} training'
            f' images, too few for {max(self.shots)} shots; ask for fewer'
        )

  def inputs(
      self, of: FewShotSet
  ) -> list[pax_fiddle.Config[image_input.ImageInput]]:
    """Returns the inputs of a set's training images and test images.

    Each gives every image once, then raises StopIteration.

    Args:
      of: one of `sets`.
    """
    return [
        pax_fiddle.Config(
            image_input.ImageInput,
            name=f'fewshot_{of.name}_{split}',
            source=of.source,
            split_name=split,
            is_training=False,
            batch_size=self.batch_size,
            image_size=self.image_size,
            channels=self.channels,
            ops=tuple(self.ops),
        )
        for split in ('train', of.test_split)
    ]
