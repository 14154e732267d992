"""Data sets of encoded images, each offered to Pax as one `seqio.Task`.

A source knows where a data set lies and what its classes are. It is a frozen
dataclass, so that it can be a value in an experiment's configuration:

  EmbeddedFashionMnist()       12,000 images that come with this package
  FashionMnist(data_dir)       all 70,000, from a folder of the original files
  TFRecordImages(data_dir, n)  any folder of TFRecords, n classes

and, in modules beside this one, `manifest.ManifestImages` for what `softmoe
data` writes, and `weighted.MixedImages` for several. `named` finds them by name.

The examples of every Task have the same two features:

  image  [] string, the bytes of a PNG or JPEG file
  label  [number of labels] int64, at least one, each in [0, num_classes)

Errors in the files raise a one-line ValueError that names the file, says what
is wrong and what to change.
"""

import abc
from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import functools
from typing import Any

from etils import epath
import numpy as np
from pax_softmoe.data.ops import image_ops
from pax_softmoe.data.read import array_source
from pax_softmoe.data.read import idx_files
from pax_softmoe.data.read import image_features
from pax_softmoe.data.read import shard_names
from pax_softmoe.data.read import tf_errors
from pax_softmoe.data.read import tfrecord_files
import seqio
import tensorflow as tf

# Bytes of a data set that is read as a whole before it is used.
SMALL = 16 * 2**20

_EMBEDDED_DIR = epath.Path(__file__).parent / 'fashion_mnist'

# In the order of the labels, as the data set's authors name them.
_FASHION_MNIST_CLASSES = (
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


class ImageSource(abc.ABC):
  """What a data set offers to `image_input.ImageInput`.

  Attributes:
    name: name of the Task; letters, digits and underscores.
    num_classes: how many classes there are.
    class_names: their names in the order of the labels; empty if unknown.
    splits: names of the parts, such as 'train' and 'test'.
    multi_label: whether an image is known to have several.
  """

  name: str
  num_classes: int
  class_names: Sequence[str]
  splits: Sequence[str]
  multi_label: bool = False

  @abc.abstractmethod
  def task(self) -> seqio.Task:
    """Returns the Task (unregistered) of encoded images and labels.

    Raises:
      ValueError: files are missing or empty.
    """

  @abc.abstractmethod
  def shard_sizes(self, split: str) -> Sequence[int]:
    """Returns how many examples are in each shard that `task()` lists.

    Raises:
      ValueError: no such split, or files are missing, empty or truncated.
    """

  @abc.abstractmethod
  def check(self) -> None:
    """Raises a ValueError if the files cannot be used as they are.

    Reads all of a small data set, and samples of one of any size.
    """

  def check_reading(
      self,
      split: str,
      convert: Callable[[dict[str, tf.Tensor]], Any],
      shard_info: seqio.ShardInfo,
      single_label: bool,
  ) -> None:
    """Reads all examples of a split, one after the other, to find a bad one.

    Args:
      split: the split.
      convert: what is done with each example of the Task, in TensorFlow.
      shard_info: which part of the split.
      single_label: whether more than one label is wrong.

    Raises:
      ValueError: the first example that cannot be read, and why.
    """
    del single_label  # Arrays of images have one each.
    good = 0
    examples = self.task().get_dataset(
        None, split, shuffle=False, shard_info=shard_info
    )
    try:
      for _ in examples.map(convert):
        good += 1
    except tf_errors.ERRORS as error:
      raise ValueError(
          f'{self.name}, example {good} of {split}:'
          f' {tf_errors.reason(error)}; correct it, or change what is done with'
          ' it'
      ) from error

  def parts(self) -> Sequence[tuple['ImageSource', float]]:
    """Returns the data sets that this one is mixed of, and their rates."""
    return ((self, 1.0),)

  def num_examples(self, split: str) -> int:
    """Returns the number of examples in `split`; raises like `shard_sizes`."""
    return sum(self.shard_sizes(split))

  def host_sizes(self, split: str, num_hosts: int) -> Sequence[int]:
    """Returns how many examples of `split` each of `num_hosts` hosts reads.

    SeqIO deals out whole shards in turn if every host can have one, and single
    examples otherwise. Raises like `shard_sizes`.
    """
    shards = self.shard_sizes(split)
    if len(shards) >= num_hosts:
      return [sum(shards[host::num_hosts]) for host in range(num_hosts)]
    examples = range(sum(shards))
    return [len(examples[host::num_hosts]) for host in range(num_hosts)]

  def check_split(self, split: str) -> None:
    """Raises a ValueError if there is no `split`."""
    if split not in self.splits:
      raise ValueError(
          f'{self.name}: there is no split {split!r}; choose one of'
          f' {", ".join(self.splits)}'
      )


def _output_features() -> dict[str, seqio.Feature]:
  # SeqIO wants a vocabulary for each feature; this one changes nothing.
  vocabulary = seqio.PassThroughVocabulary(size=0)
  return {
      'image': seqio.Feature(
          vocabulary, add_eos=False, dtype=tf.string, rank=0
      ),
      'label': seqio.Feature(vocabulary, add_eos=False, dtype=tf.int64),
  }


@dataclasses.dataclass(frozen=True)
class TFRecordImages(ImageSource):
  """TFRecord files of tf.train.Example with encoded images and labels.

  The files of ImageNet that TensorFlow Datasets writes, for example, are
  `TFRecordImages('.../imagenet2012/5.1.0', num_classes=1000,
  pattern='imagenet2012-{split}.tfrecord*')`.

  Attributes:
    data_dir: the folder of the files.
    num_classes: labels are in [0, num_classes).
    name: name of the Task.
    splits: the parts of the data set.
    pattern: names of a split's files, `{split}` standing for its name. Give
      each host at least one file: with fewer files than hosts, every host reads
      all of them and drops what belongs to the others.
    image_key: the bytes feature with the encoded image.
    label_key: the int64 feature with the labels, one or several.
    class_names: names of the classes, in the order of the labels.
    shuffle_buffer_size: among how many examples training shuffles. They are
      kept in the memory of each host, encoded, and saved with every checkpoint
      of the input.
    multi_label: whether an image is known to have several.
  """

  data_dir: str
  num_classes: int
  name: str = 'tfrecord_images'
  splits: Sequence[str] = ('train', 'validation')
  pattern: str = '{split}-*.tfrecord*'
  image_key: str = 'image'
  label_key: str = 'label'
  class_names: Sequence[str] = ()
  shuffle_buffer_size: int = 2048
  multi_label: bool = False

  def task(self) -> seqio.Task:
    rekey = functools.partial(
        seqio.preprocessors.rekey,
        key_map={'image': self.image_key, 'label': self.label_key},
    )
    return seqio.Task(
        self.name,
        seqio.TFExampleDataSource(
            {split: self._files(split) for split in self.splits},
            self._form().features(),
        ),
        output_features=_output_features(),
        preprocessors=[rekey],
        shuffle_buffer_size=self.shuffle_buffer_size,
    )

  def shard_sizes(self, split: str) -> Sequence[int]:
    self.check_split(split)
    return [tfrecord_files.count_records(file) for file in self._files(split)]

  def check(self, full: bool = False) -> None:
    """Raises a ValueError if the files cannot be used as they are.

    Args:
      full: read every record, as is done with small data sets anyway. Otherwise
        only each file's first record is read.
    """
    files = [file for split in self.splits for file in self._files(split)]
    self.check_records(files, full)

  def check_records(self, files: Sequence[str], full: bool) -> None:
    """Reads each file's first record, or all of a small set or if `full`."""
    size = sum(epath.Path(file).stat().length for file in files)

    def convert(example):
      labels = image_features.one_hot(example['label'], self.num_classes)
      return labels, image_ops.decode(example['image'], 3)

    for file in files:
      tfrecord_files.check(
          file,
          self._form(),
          convert,
          limit=-1 if full or size <= SMALL else 1,
      )

  def check_reading(
      self,
      split: str,
      convert: Callable[[dict[str, tf.Tensor]], Any],
      shard_info: seqio.ShardInfo,
      single_label: bool,
  ) -> None:
    files = self._files(split)
    # As SeqIO deals them out.
    if len(files) >= shard_info.num_shards:
      files = files[shard_info.index :: shard_info.num_shards]
    for file in files:
      tfrecord_files.check(
          file, self._form(), convert, single_label=single_label
      )

  def _form(self) -> tfrecord_files.Format:
    return tfrecord_files.Format(
        self.image_key, self.label_key, self.num_classes
    )

  def _files(self, split: str) -> list[str]:
    return shard_names.find(self.data_dir, self.pattern, split)


@dataclasses.dataclass(frozen=True)
class EmbeddedFashionMnist(ImageSource):
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
  class_names = _FASHION_MNIST_CLASSES
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

  def _records(self) -> TFRecordImages:
    return TFRecordImages(
        str(_EMBEDDED_DIR),
        self.num_classes,
        name=self.name,
        splits=self.splits,
        class_names=self.class_names,
        # All of it, so that an epoch may come in any order.
        shuffle_buffer_size=10_000,
    )


@dataclasses.dataclass(frozen=True)
class FashionMnist(ImageSource):
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
  class_names = _FASHION_MNIST_CLASSES
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
        output_features=_output_features(),
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
