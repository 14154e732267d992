"""How the models of the paper are trained; a leaf adds size and router."""

from collections.abc import Sequence
from typing import Any

from jax import numpy as jnp
from pax_softmoe.data import image_ops
from pax_softmoe.data import sources
from pax_softmoe.experiments import base
from praxis import optimizers
from praxis import pax_fiddle
from praxis import schedules


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

  def fewshot_ops(self) -> Sequence[Any]:
    return (
        image_ops.Resize(self.IMAGE_SIZE * 256 // 224),
        image_ops.CenterCrop(self.IMAGE_SIZE),
        image_ops.ValueRange(),
    )


class JftShort(Jft):
  """The shorter runs of the paper's comparison (table 9)."""

  NUM_TRAIN_STEPS = 300_000


class _Finetune:
  """V-MoE's official fine-tuning, without weight decay.

  The Soft MoE paper does not give its own (section 3.1). SGD with momentum 0.9,
  a cosine from LEARNING_RATE to FINAL_LEARNING_RATE after WARMUP_STEPS. Weights
  are those of INIT_FROM, with interpolated positions and a fresh head; experts
  and slots stay as they are, however many tokens there are.
  """

  INIT_HEAD = False
  LOSS = 'softmax'
  LEARNING_RATE = 3e-3
  FINAL_LEARNING_RATE: float = 1e-5
  CLIP_GRADIENT_NORM = 10.0

  def optimizer(self) -> pax_fiddle.Config[optimizers.ShardedSgd]:
    warmup, total = self.WARMUP_STEPS, self.NUM_TRAIN_STEPS
    if not 0 <= warmup < total:
      raise ValueError(
          f'{type(self).__name__}: WARMUP_STEPS is {warmup} and NUM_TRAIN_STEPS'
          f' {total}; the first must be less than the second'
      )
    return pax_fiddle.Config(
        optimizers.ShardedSgd,
        momentum=0.9,
        learning_rate=self.LEARNING_RATE,
        lr_schedule=pax_fiddle.Config(
            schedules.LinearRampupCosineDecay,
            warmup_steps=warmup,
            decay_start=warmup,
            decay_end=total,
            max=1.0,
            min_ratio=self.FINAL_LEARNING_RATE / self.LEARNING_RATE,
        ),
        clip_gradient_norm_to_value=self.CLIP_GRADIENT_NORM,
    )


class ImageNetFinetune(_Finetune, Jft):
  """Fine-tuning on ImageNet at 384 pixels, with V-MoE's steps and batch.

  DATA_DIR is a folder of TFRecords named like train-00000-of-01024.tfrecord.
  """

  IMAGE_SIZE = 384
  NUM_CLASSES = 1_000
  TRAIN_BATCH_SIZE = 1_024
  EVAL_BATCH_SIZE = 1_024
  NUM_TRAIN_STEPS = 10_000
  WARMUP_STEPS = 500
  EVAL_INTERVAL_STEPS = 1_000

  def eval_ops(self) -> Sequence[Any]:
    return (image_ops.Resize(self.IMAGE_SIZE), image_ops.ValueRange())


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
  NUM_TRAIN_STEPS = 3_000
  LEARNING_RATE = 2e-3
  WARMUP_STEPS = 100
  COOLDOWN_STEPS = 1_500
  TIMESCALE = 1_500
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
        *self.eval_ops(),
    )

  def eval_ops(self) -> Sequence[Any]:
    if self.IMAGE_SIZE == 28:
      return (image_ops.ValueRange(),)
    return (image_ops.Resize(self.IMAGE_SIZE), image_ops.ValueRange())

  def fewshot_ops(self) -> Sequence[Any]:
    return (image_ops.Resize(self.IMAGE_SIZE), image_ops.ValueRange())


class FashionMnistFinetune(_Finetune, FashionMnist):
  """Fine-tuning on enlarged images of Fashion-MNIST, on a CPU in minutes."""

  IMAGE_SIZE = 56
  NUM_TRAIN_STEPS = 300
  WARMUP_STEPS = 15
  EVAL_INTERVAL_STEPS = 100
  SAVE_INTERVAL_STEPS = 100
