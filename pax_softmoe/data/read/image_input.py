"""The Pax input for images: from a `sources.ImageSource` to batches.

What happens to an example, in this order:

  Task         read this host's shard, shuffle it, encoded
  repeat       training starts the next epoch, in a new order
  mix          of several data sets, each at its rate
  enumerate    its position in the stream gives each example its random seed
  decode, ops  `image_ops`, several images at once, order kept
  pad          evaluation only: weightless examples until all hosts have the
               same number of batches
  batch        of one host
  mixup        if asked for: neighbours in a training batch are blended

Letters: B batch size of one process, s image size in pixels, c channels.
"""

from collections.abc import Sequence
import functools
import io
import json
import os
import tempfile
import time
from typing import Any
import zipfile

from absl import logging
import jax
import numpy as np
from pax_softmoe.data.ops import image_ops
from pax_softmoe.data.read import image_features
from pax_softmoe.data.read import sources
from pax_softmoe.data.read import tf_errors
from paxml import seqio_input
from praxis import base_input
from praxis import py_utils
import seqio
import tensorflow as tf

NestedMap = py_utils.NestedMap

# Fields of `ImageInput` that the meaning of a saved state depends on. `ops` are
# not among them: changed ones take effect after the batches under way.
_SETTINGS = (
    'source',
    'split_name',
    'batch_size',
    'image_size',
    'channels',
    'input_random_seed',
    'num_infeed_hosts',
    'infeed_host_index',
    'mixup',
)
_SETTINGS_FILE = 'settings.json'
# Beside the settings in that file: the version of TensorFlow.
_WRITER = 'tensorflow'


class ImageInput(seqio_input.SeqIOInput):
  """Batches of images and labels from an `ImageSource`.

  Each batch is a NestedMap of

    image                [B, s, s, c] float32
    labels               [B, num_classes] float32, one for each label
    eval_sample_weights  [B] float32, 1, and 0 for padding

  Training repeats the data endlessly, each epoch in a new order and with new
  random augmentation. Otherwise the input gives every example of the split
  exactly once over all hosts and then raises StopIteration, on every host
  after the same number of batches. The stream depends on nothing but the
  settings: the same `input_random_seed` gives the same batches, other seeds
  and other hosts give others.

  Its state can be saved and restored between any two batches, whether one was
  peeked at or not; batches then go on as if there had been no interruption.
  The state holds the examples in the shuffle buffer as encoded bytes.

  Fields of SeqIOInput about text features, caching and metrics of SeqIO have
  no effect.

  Attributes:
    source: the data set.
    image_size: height and width s of the images after `ops`, in pixels.
    channels: c, 1 for grey and 3 for colour; images are converted on decoding.
    ops: what to do with each decoded image, see `image_ops`.
    mixup: concentration of the mixing weights in training, see
      `image_features.mixup`; 0 for no mixing.
    single_label: whether an example with several labels is an error.

  Raises:
    ValueError: a field is missing or wrong, or files of the source are; on
      getting a batch, if an image cannot be decoded or has another size than s
      after `ops`, or a label is outside [0, num_classes).
  """

  source: sources.ImageSource | None = None
  image_size: int | None = None
  channels: int = 3
  ops: Sequence[image_ops.ImageOp] = ()
  mixup: float = 0.0
  single_label: bool = False
  # Other defaults than in SeqIOInput.
  input_random_seed: int | None = 0
  reset_for_eval: bool = True
  eval_loop_num_batches: int = -1
  trim_output_features: bool = False
  try_in_mem_cache: bool = False
  # It would set options of TFDS readers, which our sources do not use, and which
  # TensorFlow 2.9 and the tensorflow_datasets of all stacks do not have.
  enable_symbolic_checkpointing: bool | None = False

  def __post_init__(self):
    if self.source is None:
      raise ValueError(
          f'ImageInput {self.name!r} has no data; set its source, in'
          ' experiments by DATA_DIR'
      )
    for field in ('split_name', 'image_size', 'input_random_seed'):
      if getattr(self, field) is None:
        raise ValueError(f'ImageInput {self.name!r}: set {field}')
    self.source.check_split(self.split_name)
    self._tasks = [source.task() for source, _ in self.source.parts()]
    self.mixture_or_task = self._tasks[0]  # What SeqIOInput wants to name.
    self.task_feature_lengths = {}
    self.feature_converter = image_features.ImageFeatures(
        image_size=self.image_size,
        channels=self.channels,
        num_classes=self.source.num_classes,
        ops=self.ops,
        seed=(self._seed, self.infeed_host_index),
        single_label=self.single_label,
    )
    if self.mixup < 0:
      raise ValueError(
          f'ImageInput {self.name!r}: mixup is {self.mixup}; set it to 0 for'
          ' none, or above 0, in experiments by MIXUP'
      )
    super().__post_init__()
    # The NumPy iterator that SeqIOInput makes cannot be saved.
    self._iter = iter(self.dataset)
    # In all calls of `get_next` together.
    self.seconds_waited = 0.0

  @property
  def _seed(self) -> int:
    """The seed as TensorFlow accepts it, a number below 2^31."""
    return self.input_random_seed % 2**31

  # SeqIOInput overrides these four and loses the batch that was peeked at.
  get_state = base_input.BaseInput.get_state
  set_state = base_input.BaseInput.set_state
  save = base_input.BaseInput.save
  restore = base_input.BaseInput.restore

  def _get_state_internal(self) -> bytes:
    # TensorFlow writes the state of an iterator only into files.
    with tempfile.TemporaryDirectory() as folder:
      checkpoint = tf.train.Checkpoint(iterator=self._iter)
      checkpoint.write(os.path.join(folder, 'iterator'))
      state = io.BytesIO()
      with zipfile.ZipFile(state, 'w') as archive:
        saved = {**self._settings, _WRITER: tf.__version__}
        archive.writestr(_SETTINGS_FILE, json.dumps(saved))
        for name in os.listdir(folder):
          archive.write(os.path.join(folder, name), name)
    return state.getvalue()

  def _set_state_internal(self, state: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
      with zipfile.ZipFile(io.BytesIO(state)) as archive:
        saved = json.loads(archive.read(_SETTINGS_FILE))
        self._check_settings(saved)
        archive.extractall(folder)
      checkpoint = tf.train.Checkpoint(iterator=self._iter)
      try:
        checkpoint.read(os.path.join(folder, 'iterator')).assert_consumed()
      except tf.errors.OpError as error:
        raise ValueError(
            f'ImageInput {self.name!r}: TensorFlow {tf.__version__} cannot read'
            ' the saved place in the data, which TensorFlow'
            f' {saved.get(_WRITER, "of another version")} wrote; resume with'
            ' the versions that the job began with, or set'
            ' train.enable_input_checkpointing=False to start the data afresh'
            f' ({str(error.message)[:200]})'
        ) from error

  @property
  def _settings(self) -> dict[str, str]:
    """The fields that two inputs must share to share a saved state."""
    return {field: repr(getattr(self, field)) for field in _SETTINGS}

  def _check_settings(self, saved: dict[str, str]) -> None:
    # TensorFlow restores, for example, the state of another split or seed
    # without a word, and goes on with the old data until the epoch ends.
    for field, value in self._settings.items():
      # What older states do not have was not there to set.
      if saved.get(field, value) != value:
        raise ValueError(
            f'ImageInput {self.name!r}: the saved state is of an input with'
            f' {field}={saved[field]}, this one has {value}; restore the old'
            ' setting, or set train.enable_input_checkpointing=False to start'
            ' the data afresh'
        )

  def get_next(self) -> NestedMap:
    """Returns the next batch; raises StopIteration after the last one.

    Raises:
      ValueError: which example cannot be read, and why.
    """
    started = time.monotonic()
    try:
      batch = jax.tree_util.tree_map(lambda x: x.numpy(), next(self._iter))
    except tf_errors.ERRORS as error:
      raise self._explained(error) from error
    self.seconds_waited += time.monotonic() - started
    return batch

  def _explained(self, error: Exception) -> ValueError:
    """Returns an error that names the example that cannot be read."""
    if isinstance(error, tf.errors.FailedPreconditionError):
      return ValueError(
          f'ImageInput {self.name!r}: {tf_errors.reason(error)}; the manifest'
          ' is of other files, make the data again by `softmoe data`'
      )
    logging.error(
        'ImageInput %r: %s. Looking for the example in %s.',
        self.name,
        tf_errors.reason(error),
        self.split_name,
    )
    part = seqio.ShardInfo(self.infeed_host_index, self.num_infeed_hosts)
    convert = functools.partial(
        self.feature_converter.convert, tf.constant(0, tf.int64)
    )
    try:
      for source, _ in self.source.parts():
        source.check_reading(self.split_name, convert, part, self.single_label)
    except ValueError as found:
      return found
    return ValueError(
        f'ImageInput {self.name!r}: {tf_errors.reason(error)}; each example of'
        f' {self.split_name} can be read by itself, see the log'
    )

  def reset(self) -> None:
    """Starts again from the first batch, in evaluation."""
    base_input.BaseInput.reset(self)
    self._iter = iter(self.dataset)

  def _get_dataset(self) -> tf.data.Dataset:
    ds = super()._get_dataset()
    if not self.is_training or not self.mixup:
      return ds
    seed = (self._seed, self.infeed_host_index)
    return image_features.mixup(ds, self.mixup, seed)

  def _get_backing_ds(
      self,
      shuffle: bool,
      num_epochs: int,
      shard_info: seqio.ShardInfo | None,
      cache_input_ds: bool = False,
  ) -> tf.data.Dataset:
    # Pax after 1.4.0 asks, for evaluations that need targets in memory.
    del cache_input_ds
    streams = [
        self._task_ds(task, shuffle, num_epochs, shard_info)
        for task in self._tasks
    ]
    ds = streams[0]
    if len(streams) > 1 and num_epochs > 0:
      for stream in streams[1:]:
        ds = ds.concatenate(stream)
    elif len(streams) > 1:
      rates = [rate for _, rate in self.source.parts()]
      seed = (self._seed, self.infeed_host_index)
      ds = tf.data.Dataset.choose_from_datasets(
          streams, image_features.choices(rates, seed)
      )
    options = tf.data.Options()
    # The shuffle of an epoch starts from that epoch's seed alone, but counts as
    # stateful, and iterators over stateful operations are not saved by default.
    options.experimental_external_state_policy = (
        tf.data.experimental.ExternalStatePolicy.IGNORE
    )
    # The thread that tunes parallelism sleeps for up to a minute at a time, and
    # dropping an iterator (after each evaluation) often waits until it wakes.
    options.autotune.enabled = False
    ds = ds.with_options(options)
    return self.feature_converter(ds, self.task_feature_lengths)

  def _task_ds(
      self,
      task: seqio.Task,
      shuffle: bool,
      num_epochs: int,
      shard_info: seqio.ShardInfo | None,
  ) -> tf.data.Dataset:
    """Returns the examples of a data set, epoch after epoch."""

    @tf.autograph.experimental.do_not_convert
    def epoch_ds(epoch: tf.Tensor) -> tf.data.Dataset:
      seed = tf.random.stateless_uniform(
          [], tf.stack([self._seed, epoch]), None, None, tf.int64
      )
      return task.get_dataset(
          sequence_length=self.task_feature_lengths,
          split=self.split_name,
          use_cached=self.use_cached,
          shuffle=shuffle,
          seed=seed,
          shard_info=shard_info,
          trim_output_features=self.trim_output_features,
          try_in_mem_cache=self.try_in_mem_cache,
      )

    # A Task that repeats does so before it shuffles: an image may come twice
    # before another comes at all. And a shuffle that is repeated loses its
    # place in the sequence of random orders when it is saved and restored.
    # Making each epoch's dataset from the epoch's number avoids both.
    num_epochs = num_epochs if num_epochs > 0 else tf.int64.max
    return tf.data.Dataset.range(num_epochs).flat_map(epoch_ds)

  def _pad_to_batch_size(self, ds: tf.data.Dataset) -> tf.data.Dataset:
    if self.is_training or self.should_repeat or not self.eval_auto_pad:
      return ds
    # SeqIOInput decodes the whole split to count it. The source knows what each
    # host has, without any communication.
    sizes = self.source.host_sizes(self.split_name, self.num_infeed_hosts)
    # Where it errs examples would be left out of the last batch.
    ds = ds.apply(
        tf.data.experimental.assert_cardinality(sizes[self.infeed_host_index])
    )
    num_batches = -(-max(sizes) // self.batch_size)
    num_padding = num_batches * self.batch_size - sizes[self.infeed_host_index]
    padding = tf.nest.map_structure(
        lambda spec: tf.zeros(spec.shape, spec.dtype), ds.element_spec
    )
    padding = tf.data.Dataset.from_tensors(padding).repeat(num_padding)
    return ds.concatenate(padding)


class ImageInputSpecs(base_input.BaseInputSpecsProvider):
  """The shapes and dtypes of `ImageInput`'s batches, without any data.

  Attributes:
    batch_size: B, of one process.
    image_size: s in pixels.
    channels: c.
    num_classes: length of the label vectors.
  """

  batch_size: int | None = None
  image_size: int | None = None
  channels: int = 3
  num_classes: int | None = None

  def get_input_specs(self) -> NestedMap:
    """Returns the NestedMap of jax.ShapeDtypeStruct of one batch."""
    shapes: dict[str, Any] = {
        'image': (
            self.batch_size,
            self.image_size,
            self.image_size,
            self.channels,
        ),
        'labels': (self.batch_size, self.num_classes),
        'eval_sample_weights': (self.batch_size,),
    }
    return NestedMap({
        name: jax.ShapeDtypeStruct(shape, np.float32)
        for name, shape in shapes.items()
    })
