"""The data sets of the few-shot evaluation."""

from collections.abc import Sequence
import dataclasses
import functools
import pathlib

from etils import epath
import numpy as np
from pax_softmoe import files
from pax_softmoe.data.ops import image_ops
from pax_softmoe.data.read import fashion_mnist_images
from pax_softmoe.data.read import image_input
from pax_softmoe.data.read import named
from pax_softmoe.data.read import shard_names
from pax_softmoe.data.read import sources
from pax_softmoe.data.read import tf_errors
from praxis import pax_fiddle

EMBEDDED = 'fashion_mnist'
_MOST_CLASSES = 1_000_000
_TFDS = 'tfds:'


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
    text: 'fashion_mnist' for the images in this package, or [NAME=]DATA for
      what `named.find` takes: a folder, or 'tfds:NAME'. It has a split 'train',
      and 'test' or 'validation'.

  Raises:
    ValueError: there is no such data set, or it has no such splits, or records
      without labels.
  """
  if text == EMBEDDED:
    return FewShotSet(
        EMBEDDED, fashion_mnist_images.EmbeddedFashionMnist(), 'test', 1000
    )
  name, _, data = text.rpartition('=')
  if data.startswith(_TFDS):
    name = name or data.removeprefix(_TFDS).partition('/')[0]
  else:
    name = name or pathlib.PurePath(data).name
    files.exists(data)  # Raises if that cannot be known.
  source = named.find(data, _MOST_CLASSES)
  if not isinstance(source, sources.TFRecordImages):
    return FewShotSet(name, source, 'test', 6000)  # All of Fashion-MNIST.
  tests = [s for s in ('test', 'validation') if _has(source, s)]
  if not tests:
    raise ValueError(
        f'few-shot data {text}: {data} has no split test or validation (files'
        f' such as test-*.tfrecord*); give data that has one, or {EMBEDDED}'
    )
  splits = ('train', tests[0])
  source = dataclasses.replace(source, name=f'fewshot_{name}', splits=splits)
  # All files are read, though no image is decoded.
  train, test = (_labels(source, split) for split in splits)
  classes = max(train.max(), test.max()) + 1
  counts = np.bincount(train, minlength=classes)
  return FewShotSet(
      name,
      dataclasses.replace(source, num_classes=int(classes)),
      tests[0],
      int(counts.min()),
      f'class {counts.argmin()}',
  )


def _has(source: sources.TFRecordImages, split: str) -> bool:
  """Returns whether there is a split."""
  # Folders that do not say which splits they have are looked into.
  if type(source) is sources.TFRecordImages and not source.class_names:
    folder = epath.Path(source.data_dir)
    return folder.is_dir() and shard_names.has(folder, source.pattern, split)
  return split in source.splits


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
    if not found.size or found.min() < 0 or found.max() >= source.num_classes:
      raise ValueError(
          f'few-shot data {source.data_dir}: example {len(labels)} of {split}'
          f' has the labels {found.tolist()}; give each one or more, from 0 and'
          f' below {source.num_classes:,}'
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
