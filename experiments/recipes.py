"""How the models of the paper are trained; a leaf adds size and router."""

from collections.abc import Sequence
from typing import Any

from jax import numpy as jnp
from pax_softmoe.data import image_ops
from pax_softmoe.data import sources
from pax_softmoe.experiments import base


class Jft(base.ImageClassification):
  """Pretraining on JFT-4B or a set like it (paper, appendix F.2).

  JFT is not public: point DATA_DIR at TFRecords of your images, and set
  NUM_CLASSES to theirs.
  """

  NUM_CLASSES = 29_593
  LOSS = 'sigmoid'
  NUM_TRAIN_STEPS = 4_000_000
  EVAL_SPLITS = ('validation',)

  def source(self) -> sources.ImageSource | None:
    if not self.DATA_DIR:
      return None
    return sources.TFRecordImages(
        data_dir=self.DATA_DIR, num_classes=self.NUM_CLASSES
    )

  def train_ops(self) -> Sequence[Any]:
    return (
        image_ops.InceptionCrop(self.IMAGE_SIZE),
        image_ops.FlipLeftRight(),
        image_ops.ValueRange(),
    )

  def eval_ops(self) -> Sequence[Any]:
    return (
        image_ops.ResizeSmall(self.IMAGE_SIZE * 256 // 224),
        image_ops.CenterCrop(self.IMAGE_SIZE),
        image_ops.ValueRange(),
    )


class JftShort(Jft):
  """The shorter runs of the paper's comparison (table 9)."""

  NUM_TRAIN_STEPS = 300_000


class FashionMnist(base.ImageClassification):
  """Fashion-MNIST on a CPU, in minutes: grey photographs of ten garments.

  The 10,000 training and 2,000 test images inside the package, or the full set
  with DATA_DIR at a folder of the original files.
  """

  IMAGE_SIZE = 28
  CHANNELS = 1
  NUM_CLASSES = 10
  PATCH_SIZE = 7
  MODEL_DIMS = 128
  HIDDEN_DIMS = 256
  NUM_HEADS = 4
  NUM_LAYERS = 4

  TRAIN_BATCH_SIZE = 64
  EVAL_BATCH_SIZE = 200
  NUM_TRAIN_STEPS = 2_000
  LEARNING_RATE = 2e-3
  WARMUP_STEPS = 100
  COOLDOWN_STEPS = 1_000
  TIMESCALE = 1_000
  HEAD_DECAY = 0.03

  COMPUTE_DTYPE = jnp.float32
  REMAT = 'none'
  SUMMARY_INTERVAL_STEPS = 50
  EVAL_INTERVAL_STEPS = 500
  SAVE_INTERVAL_STEPS = 500

  def source(self) -> sources.ImageSource:
    if self.DATA_DIR:
      return sources.FashionMnist(self.DATA_DIR)
    return sources.EmbeddedFashionMnist()

  def train_ops(self) -> Sequence[Any]:
    return (
        image_ops.PadCrop(1),
        image_ops.FlipLeftRight(),
        image_ops.ValueRange(),
    )

  def eval_ops(self) -> Sequence[Any]:
    return (image_ops.ValueRange(),)
