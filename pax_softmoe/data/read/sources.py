"""Data sets of encoded images, each offered to Pax as one `seqio.Task`.

A source knows where a data set lies and what its classes are. It is a frozen
dataclass, so that it can be a value in an experiment's configuration:

  TFRecordImages(data_dir, n)  any folder of TFRecords, n classes

and, in modules beside this one, `fashion_mnist_images` for the demo's,
`manifest.ManifestImages` for what `softmoe data` writes, and
`weighted.MixedImages` for several. `named` finds them by name.

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
from pax_softmoe.data.ops import image_ops
from pax_softmoe.data.read import image_features
from pax_softmoe.data.read import shard_names
from pax_softmoe.data.read import tf_errors
from pax_softmoe.data.read import tfrecord_files
import seqio
import tensorflow as tf

# Bytes of a data set that is read as a whole before it is used.
SMALL = 16 * 2**20


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


def output_features() -> dict[str, seqio.Feature]:
  """Returns the features of the examples of every Task."""
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
        output_features=output_features(),
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
