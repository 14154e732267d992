"""How the models of the paper are trained; a leaf adds size and router."""

from collections.abc import Sequence
from typing import Annotated
from typing import Any

from jax import numpy as jnp
from pax_softmoe.data.ops import image_ops
from pax_softmoe.data.read import fashion_mnist_images
from pax_softmoe.data.read import named
from pax_softmoe.data.read import sources
from pax_softmoe.experiments import base
from pax_softmoe.experiments import settings
from praxis import optimizers
from praxis import pax_fiddle
from praxis import schedules

_FinalRate = Annotated[settings.NonNegative, 'Learning rate of the last step.']


class Jft(base.ImageClassification):
  """Pretraining on JFT-4B or a set like it (paper, appendix F.2).

  JFT is not public: point DATA_DIR at your images as `named.find` takes
  them, and set NUM_CLASSES to theirs.
  """

  needs = ('DATA_DIR', 'NUM_CLASSES')
  NUM_CLASSES = 29_593
  LOSS = 'sigmoid'
  NUM_TRAIN_STEPS = 4_000_000
  EVAL_SPLITS = ('validation',)
  # To cool down from, as in the official configuration.
  SAVE_KEEP_EVERY_STEPS = 50_000

  def source(self) -> sources.ImageSource | None:
    if not self.DATA_DIR:
      return None
    return named.find(self.DATA_DIR, self.NUM_CLASSES)

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


def _decay_to_the_end(
    experiment: base.ImageClassification, schedule: type[schedules.BaseSchedule]
) -> pax_fiddle.Config[schedules.BaseSchedule]:
  """Returns a schedule that rises in WARMUP_STEPS and falls for all others.

  It ends at FINAL_LEARNING_RATE.

  Args:
    experiment: an `ImageClassification` with that setting.
    schedule: the shape of the fall.

  Raises:
    ValueError: the warm-up takes all steps.
  """
  warmup, total = experiment.WARMUP_STEPS, experiment.NUM_TRAIN_STEPS
  if not 0 <= warmup < total:
    raise ValueError(
        f'{type(experiment).__name__}: WARMUP_STEPS is {warmup} and'
        f' NUM_TRAIN_STEPS {total}; the first must be less than the second'
    )
  return pax_fiddle.Config(
      schedule,
      warmup_steps=warmup,
      decay_start=warmup,
      decay_end=total,
      max=1.0,
      min_ratio=experiment.FINAL_LEARNING_RATE / experiment.LEARNING_RATE,
  )


class ImageNet21k(Jft):
  """Pretraining on ImageNet-21k, V-MoE's public recipe.

  That of `pretrain_imagenet21k.py` in google-research/vmoe: 300 epochs of all
  14,197,122 images but 102,400 for validation, RandAugment and mixup, Adam with
  decay 0.1 of kernels, a linear decay of the rate. Its peak depends on the size:

    S/32 1e-3    B/32, B/16 8e-4    L/32 6e-4    L/16 4e-4    H/14 3e-4

  The decay of Soft MoE's router scale is the leaf's to turn off, which is no
  kernel. The model is evaluated every 1,000 steps, as there.
  """

  needs = ('DATA_DIR',)
  NUM_CLASSES = 21_843
  TRAIN_BATCH_SIZE = 4_096
  NUM_TRAIN_STEPS = 300 * (14_197_122 - 102_400) // 4_096
  WARMUP_STEPS = 10_000
  FINAL_LEARNING_RATE: _FinalRate = 1e-5
  HEAD_DECAY = 0.1
  KERNEL_DECAY = 0.1
  MIXUP = 0.5
  SAVE_KEEP_EVERY_STEPS = None
  EVAL_INTERVAL_STEPS = 1_000

  def train_ops(self) -> Sequence[Any]:
    return (
        image_ops.InceptionCrop(self.IMAGE_SIZE),
        image_ops.FlipLeftRight(),
        image_ops.RandAugment(2, 20),
        image_ops.ValueRange(),
    )

  def lr_schedule(self) -> pax_fiddle.Config[schedules.BaseSchedule]:
    return _decay_to_the_end(self, schedules.LinearRampupPolynomialDecay)


class Laion(Jft):
  """The image tower of the paper's LAION-400M runs, as a classifier.

  The paper (appendix F.1) trains it with a text tower and a contrastive loss,
  which this package does not have: optimizer, schedule, batch, image size and
  augmentation are the paper's, labels and loss are not, and its results do not
  apply. LAION has captions and no classes; point DATA_DIR at labelled images,
  and set NUM_CLASSES to their classes.
  """

  IMAGE_SIZE = 256
  NUM_CLASSES = 1_000
  TRAIN_BATCH_SIZE = 16_384
  NUM_TRAIN_STEPS = 750_000
  WARMUP_STEPS = 20_000
  COOLDOWN_STEPS = 20_000
  HEAD_DECAY = 0.1
  KERNEL_DECAY = 0.1
  INCEPTION_CROP: Annotated[
      bool,
      'Whether training crops images, as the paper does for Soft MoE. For the'
      ' others, which crops hurt, it resizes them.',
  ] = True

  def train_ops(self) -> Sequence[Any]:
    if self.INCEPTION_CROP:
      return (image_ops.InceptionCrop(self.IMAGE_SIZE), image_ops.ValueRange())
    return self.eval_ops()

  def eval_ops(self) -> Sequence[Any]:
    return (image_ops.Resize(self.IMAGE_SIZE), image_ops.ValueRange())


class _Finetune:
  """V-MoE's official fine-tuning, without weight decay.

  The Soft MoE paper does not give its own (section 3.1). SGD with momentum 0.9,
  a cosine from LEARNING_RATE to FINAL_LEARNING_RATE after WARMUP_STEPS. Weights
  are those of INIT_FROM, with interpolated positions and a fresh head; experts
  and slots stay as they are, however many tokens there are.

  A leaf names its recipe first and the experiment it starts from after it: what
  that one sets for its own training, its steps say, must not come before.
  """

  INIT_HEAD = False
  LOSS = 'softmax'
  LEARNING_RATE = 3e-3
  FINAL_LEARNING_RATE: _FinalRate = 1e-5
  CLIP_GRADIENT_NORM = 10.0

  def __init_subclass__(cls, **kwargs: Any):
    super().__init_subclass__(**kwargs)
    for base_cls in cls.__mro__[: cls.__mro__.index(_Finetune)]:
      if not issubclass(base_cls, _Finetune):
        raise ValueError(
            f'{cls.__name__}: {base_cls.__name__} comes before its recipe of'
            ' fine-tuning, and would set steps or rates in its place; name the'
            ' recipe first among the base classes'
        )

  def optimizer(self) -> pax_fiddle.Config[optimizers.ShardedSgd]:
    return pax_fiddle.Config(
        optimizers.ShardedSgd,
        momentum=0.9,
        learning_rate=self.LEARNING_RATE,
        lr_schedule=_decay_to_the_end(self, schedules.LinearRampupCosineDecay),
        clip_gradient_norm_to_value=self.CLIP_GRADIENT_NORM,
    )


class ImageNetFinetune(_Finetune, Jft):
  """Fine-tuning on ImageNet at 384 pixels, with V-MoE's steps and batch.

  DATA_DIR is a folder of TFRecords named like train-00000-of-01024.tfrecord.
  """

  needs = ('INIT_FROM', 'DATA_DIR')
  IMAGE_SIZE = 384
  NUM_CLASSES = 1_000
  TRAIN_BATCH_SIZE = 1_024
  EVAL_BATCH_SIZE = 1_024
  NUM_TRAIN_STEPS = 10_000
  WARMUP_STEPS = 500
  SAVE_KEEP_EVERY_STEPS = None
  EVAL_INTERVAL_STEPS = 1_000

  def eval_ops(self) -> Sequence[Any]:
    return (image_ops.Resize(self.IMAGE_SIZE), image_ops.ValueRange())


class FashionMnist(base.ImageClassification):
  """Fashion-MNIST on a CPU, in minutes: grey photographs of ten garments.

  The 10,000 training and 2,000 test images inside the package, or the full set
  with DATA_DIR at a folder of the original files. Other data, as `named.find`
  takes it, is resized.
  """

  IMAGE_SIZE = 28
  CHANNELS = 1
  NUM_CLASSES = 10
  PATCH_SIZE = 7
  MODEL_DIMS = 128
  HIDDEN_DIMS = 256
  NUM_HEADS = 4
  NUM_LAYERS = 4

  TRAIN_BATCH_SIZE = 128
  EVAL_BATCH_SIZE = 200
  NUM_TRAIN_STEPS = 1_000
  LEARNING_RATE = 4e-3
  WARMUP_STEPS = 100
  COOLDOWN_STEPS = 900
  TIMESCALE = 1_000
  # 13 epochs of so few images are learned by heart without.
  KERNEL_DECAY = 0.5
  HEAD_DECAY = 0.5
  MIXUP = 0.3

  COMPUTE_DTYPE = jnp.float32
  # On a CPU, computing again is faster than to write and read memory.
  REMAT = 'full'
  SUMMARY_INTERVAL_STEPS = 50
  EVAL_INTERVAL_STEPS = 500
  SAVE_INTERVAL_STEPS = 250

  def source(self) -> sources.ImageSource:
    if not self.DATA_DIR:
      return fashion_mnist_images.EmbeddedFashionMnist()
    return named.find(self.DATA_DIR, self.NUM_CLASSES)

  def train_ops(self) -> Sequence[Any]:
    return (image_ops.FlipLeftRight(), *self.eval_ops())

  def eval_ops(self) -> Sequence[Any]:
    # Images of DATA_DIR may have any size.
    if self.IMAGE_SIZE == 28 and not self.DATA_DIR:
      return (image_ops.ValueRange(),)
    return (image_ops.Resize(self.IMAGE_SIZE), image_ops.ValueRange())

  def fewshot_ops(self) -> Sequence[Any]:
    return (image_ops.Resize(self.IMAGE_SIZE), image_ops.ValueRange())


class FashionMnistFinetune(_Finetune, FashionMnist):
  """Fine-tuning on enlarged images of Fashion-MNIST, on a CPU in minutes."""

  needs = ('INIT_FROM',)
  IMAGE_SIZE = 56
  KERNEL_DECAY = 0.03
  HEAD_DECAY = 0.03
  MIXUP = 0.0
  TRAIN_BATCH_SIZE = 64
  NUM_TRAIN_STEPS = 300
  WARMUP_STEPS = 15
  EVAL_INTERVAL_STEPS = 100
  SAVE_INTERVAL_STEPS = 100
