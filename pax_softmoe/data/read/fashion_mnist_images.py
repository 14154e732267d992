"""Fashion-MNIST, as it comes with this package and as its authors give it."""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
from typing import Any

from etils import epath
import numpy as np
from pax_softmoe.data.read import array_source
from pax_softmoe.data.read import idx_files
from pax_softmoe.data.read import sources
import seqio
import tensorflow as tf

_EMBEDDED_DIR = epath.Path(__file__).parent / 'fashion_mnist'

# In the order of the labels, as the data set's authors name them.
CLASSES = (
    'T-shirt/top',
    'Trouser',
    'Pullover',
    'Dress',
    'Coat',
    'Sandal',
    'Shirt',
    'Sneaker',
    'Bag',
    'Ankle boot',
)


@dataclasses.dataclass(frozen=True)
class EmbeddedFashionMnist(sources.ImageSource):
  """The part of Fashion-MNIST that comes with this package.

  'train' has 1,000 images of each of ten classes, 'test' 200: grey, 28x28
  pixels, in random order. See fashion_mnist/README.md.

  Attributes:
    name: name of the Task.
  """

  # A field, because Pax leaves dataclasses without fields out of the
  # configurations that it prints.
  name: str = 'embedded_fashion_mnist'
  num_classes = 10
  class_names = CLASSES
  splits = ('train', 'test')

  def task(self) -> seqio.Task:
    return self._records().task()

  def shard_sizes(self, split: str) -> Sequence[int]:
    return self._records().shard_sizes(split)

  def check(self) -> None:
    """Raises a ValueError if a file is missing or differs from the original."""
    for split, expected in (('train', 10_000), ('test', 2_000)):
      count = self.num_examples(split)
      if count != expected:
        raise ValueError(
            f'{_EMBEDDED_DIR}: {count} examples in {split} instead of'
            f' {expected}; install the package again'
        )
    self._records().check(full=True)

  def check_reading(
      self,
      split: str,
      convert: Callable[[dict[str, tf.Tensor]], Any],
      shard_info: seqio.ShardInfo,
      single_label: bool,
  ) -> None:
    self._records().check_reading(split, convert, shard_info, single_label)

  def _records(self) -> sources.TFRecordImages:
    return sources.TFRecordImages(
        str(_EMBEDDED_DIR),
        self.num_classes,
        name=self.name,
        splits=self.splits,
        class_names=self.class_names,
        # All of it, so that an epoch may come in any order.
        shuffle_buffer_size=10_000,
    )


@dataclasses.dataclass(frozen=True)
class FashionMnist(sources.ImageSource):
  """All of Fashion-MNIST: 60,000 images in 'train' and 10,000 in 'test'.

  The files are those of github.com/zalandoresearch/fashion-mnist, which Debian
  installs from the package `dataset-fashion-mnist` in
  /usr/share/datasets/fashion-mnist.

  Attributes:
    data_dir: folder with the files `train-images-idx3-ubyte`,
      `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and
      `t10k-labels-idx1-ubyte`, each so or with `.gz` added.
    name: name of the Task.
  """

  data_dir: str
  name: str = 'fashion_mnist'
  num_classes = 10
  class_names = CLASSES
  splits = ('train', 'test')

  @staticmethod
  def is_in(folder: epath.PathLike) -> bool:
    """Returns whether a folder has the training images, plain or with .gz."""
    path = epath.Path(folder) / 'train-images-idx3-ubyte'
    return any(path.with_name(path.name + end).exists() for end in ('', '.gz'))

  def task(self) -> seqio.Task:
    for split in self.splits:
      self._paths(split)
    return seqio.Task(
        self.name,
        array_source.ArrayDataSource(self.load, self.splits),
        output_features=sources.output_features(),
        # A buffer of one changes nothing: the source shuffles by itself.
        shuffle_buffer_size=1,
    )

  def shard_sizes(self, split: str) -> Sequence[int]:
    self.check_split(split)
    _, labels_path = self._paths(split)
    return [len(idx_files.read_labels(labels_path))]

  def check(self) -> None:
    """Raises a ValueError if one of the files is missing or damaged."""
    for split in self.splits:
      self.load(split)

  def load(self, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the [N, 28, 28] uint8 images and the [N] uint8 labels."""
    self.check_split(split)
    images_path, labels_path = self._paths(split)
    images = idx_files.read_images(images_path)
    labels = idx_files.read_labels(labels_path)
    if len(images) != len(labels):
      raise ValueError(
          f'{labels_path}: {len(labels)} labels for the {len(images)} images of'
          f' {images_path.name}; take both files from the same release'
      )
    if labels.max() >= self.num_classes:
      raise ValueError(
          f'{labels_path}: label {labels.max()} is not below'
          f' {self.num_classes}; put the labels of Fashion-MNIST here'
      )
    return images, labels

  def _paths(self, split: str) -> tuple[epath.Path, epath.Path]:
    """Returns where the split's images and labels are."""
    prefix = {'train': 'train', 'test': 't10k'}[split]
    return (
        idx_files.find(self.data_dir, f'{prefix}-images-idx3-ubyte'),
        idx_files.find(self.data_dir, f'{prefix}-labels-idx1-ubyte'),
    )
