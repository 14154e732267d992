"""The settings that all experiments have; others are beside what they are for.

`softmoe describe` shows them under the first lines of these docstrings.
"""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Annotated
from typing import Literal

from jax import numpy as jnp
from pax_softmoe.experiments import settings
from pax_softmoe.layers import remat_policies
from pax_softmoe.sharding import axis_rules

Count = settings.Count
Kept = settings.Kept
NonNegative = settings.NonNegative
Whole = settings.Whole


class Images:
  """Images and labels."""

  DATA_DIR: Annotated[
      str
      | Annotated[
          Mapping[Annotated[str, settings.Len(1)], settings.Positive],
          settings.Len(1),
      ],
      'The data, as `named.find` takes it; a mapping of several to rates mixes'
      ' them. Needed to run, though not to describe, unless the data is in the'
      ' package.',
  ] = ''
  TRAIN_SPLIT: Annotated[str, 'Split of the data to train on.'] = 'train'
  EVAL_SPLITS: Annotated[
      Sequence[str],
      settings.Len(1),
      settings.Distinct(),
      'Splits to evaluate on; the first counts.',
  ] = ('test',)
  IMAGE_SIZE: Annotated[
      settings.Pixels, Kept, 'Height and width of images in pixels.'
  ] = 224
  CHANNELS: Annotated[
      int, settings.OneOf((1, 3)), Kept, '1 for grey images, 3 for colour.'
  ] = 3
  NUM_CLASSES: Annotated[settings.Size, Kept, 'Classes of the labels.'] = 0
  LOSS: Annotated[
      Literal['softmax', 'sigmoid'],
      Kept,
      'Of the classes; that of sigmoids is summed over them, and takes several'
      ' labels of an image.',
  ] = 'softmax'
  MIXUP: Annotated[
      NonNegative, 'Concentration of mixup in training; 0 for none.'
  ] = 0.0


class Transformer:
  """Transformer.

  `sizes` has those of the paper.
  """

  PATCH_SIZE: Annotated[
      settings.Pixels, Kept, 'Height and width of patches in pixels.'
  ] = 16
  MODEL_DIMS: Annotated[settings.Size, Kept, 'Dims of a token.'] = 0
  HIDDEN_DIMS: Annotated[
      settings.Size, Kept, 'Hidden dims of an MLP, and of an expert.'
  ] = 0
  NUM_HEADS: Annotated[settings.Size, Kept, 'Heads of attention.'] = 0
  NUM_LAYERS: Annotated[
      int, settings.Ge(1), settings.Le(2**10), Kept, 'Blocks.'
  ] = 0
  QK_NORM: Annotated[
      bool,
      Kept,
      "Whether queries and keys are normalized. Weights of others' models are"
      ' without.',
  ] = True
  MOE_LAYERS: Annotated[
      Annotated[Sequence[Whole], settings.Distinct()] | None,
      Kept,
      'Blocks with experts, counted from 0; None for the second half.',
  ] = None


class Training:
  """Training."""

  TRAIN_BATCH_SIZE: Annotated[
      Count, 'Images of a training batch, over all chips.'
  ] = 4096
  EVAL_BATCH_SIZE: Annotated[
      Count, 'Images of a batch in evaluation, over all chips.'
  ] = 4096
  NUM_TRAIN_STEPS: Annotated[Count, 'Training steps.'] = 0
  SEED: Annotated[settings.Seed, 'Of weights, order of images and noise.'] = 0


class Optimizer:
  """Optimizer and its schedule."""

  LEARNING_RATE: Annotated[settings.Positive, 'Peak of the learning rate.'] = (
      1e-3
  )
  WARMUP_STEPS: Annotated[Whole, 'Steps in which the rate rises.'] = 10_000
  COOLDOWN_STEPS: Annotated[
      Whole, 'Last steps, in which the rate falls to zero.'
  ] = 50_000
  TIMESCALE: Annotated[
      Count, 'Steps in which the rate falls by a factor of 1 / sqrt(2).'
  ] = 10_000
  CLIP_GRADIENT_NORM: Annotated[
      NonNegative, 'Norm that a larger gradient is scaled to; 0 for any.'
  ] = 1.0
  HEAD_DECAY: Annotated[NonNegative, "Weight decay of the head's kernel."] = 3.0
  KERNEL_DECAY: Annotated[NonNegative, 'Weight decay of other kernels.'] = 0.03


class Layout:
  """Where arrays live."""

  ICI_MESH_SHAPE: Annotated[
      settings.Mesh | None,
      'Mesh of the chips of a slice, (replica, data, expert, mdl); None for as'
      ' wide an expert axis as fits.',
  ] = None
  DCN_MESH_SHAPE: Annotated[
      settings.Mesh | None,
      'What multiplies that mesh over slices; None for one slice.',
  ] = None
  SHARDING: Annotated[
      str,
      settings.OneOf(axis_rules.PRESETS),
      'Preset of which mesh axes split which dimensions.',
  ] = 'expert_parallel'
  SHARDING_OVERRIDES: Annotated[
      Mapping[str, str | Sequence[str] | None],
      "Changes to the preset, as {'expert_weights.h': 'data'}.",
  ] = {}
  SLICE: Annotated[
      str | None,
      "A TPU slice as 'v4-128', or several as '2xv4-128', to take what"
      ' `softmoe tune` stored for it: mesh, sharding, remat, batch sizes, dtype'
      ' of the first moment. What is set along with SLICE, or in a subclass,'
      ' stays.',
  ] = None


class Precision:
  """Memory and precision."""

  COMPUTE_DTYPE: Annotated[settings.Dtype, 'Dtype to compute in.'] = (
      jnp.bfloat16
  )
  FIRST_MOMENT_DTYPE: Annotated[
      settings.Dtype | None,
      Kept,
      "Dtype of the optimizer's first moment; None for that of the weights.",
  ] = None
  REMAT: Annotated[
      str,
      settings.OneOf(remat_policies.POLICIES),
      'What the backward pass finds in memory instead of computing it again.',
  ] = 'full'
  EXCHANGE_PARTS: Annotated[
      Count,
      'In how many parts of a batch slots go to their experts and back; on'
      ' TPUs, one crosses chips while another is computed.',
  ] = 1
  SCAN_LAYERS: Annotated[
      bool, Kept, 'Whether equal blocks are compiled once and scanned over.'
  ] = True


class Intervals:
  """Intervals in steps."""

  SUMMARY_INTERVAL_STEPS: Annotated[Count, 'Between summaries.'] = 100
  EVAL_INTERVAL_STEPS: Annotated[Count, 'Between evaluations.'] = 5_000
  SAVE_INTERVAL_STEPS: Annotated[Count, 'Between checkpoints.'] = 1_000


class Start:
  """Start, and few-shot evaluation."""

  INIT_FROM: Annotated[
      str,
      'Where weights start from: the folder of a job or of `softmoe import`, or'
      ' an .npz file of big_vision. Positions are interpolated.',
  ] = ''
  INIT_HEAD: Annotated[
      bool, 'Whether to take the head too, which then must fit.'
  ] = True
  FEWSHOT_DATA: Annotated[
      str | Sequence[str],
      'Data of the few-shot evaluation, one or several words as `fewshot_sets`'
      ' reads them. It runs with every other evaluation.',
  ] = ()
  FEWSHOT_SHOTS: Annotated[
      Sequence[Count],
      settings.Len(1),
      settings.Distinct(),
      'Training images of each class in the few-shot evaluation.',
  ] = (1, 5, 10, 25)


class LongJobs:
  """Long jobs.

  Which checkpoints to keep, guards, accumulated gradients, averaged weights.
  """

  SAVE_MAX_TO_KEEP: Annotated[Count, 'Newest checkpoints that stay.'] = 3
  SAVE_KEEP_EVERY_STEPS: Annotated[
      Count | None,
      'Checkpoints of multiples of so many steps stay too.',
  ] = None
  VERIFY_CHECKPOINTS: Annotated[
      bool,
      'Whether checkpoints get checksums, which are compared when a job goes'
      ' on.',
  ] = True
  SKIP_STEP_GRADIENT_NORM: Annotated[
      NonNegative,
      'Steps are skipped whose gradient is not finite or has a larger norm; 0'
      ' for any norm.',
  ] = 0.0
  MAX_SKIPPED_STEPS: Annotated[
      Whole,
      'The job ends after so many skipped steps in a row; 0 for never.',
  ] = 100
  ACCUMULATE_STEPS: Annotated[
      Count,
      Kept,
      'Batches of TRAIN_BATCH_SIZE whose gradients make one update. All numbers'
      ' of steps are of batches.',
  ] = 1
  EMA_DECAY: Annotated[
      settings.Decay,
      Kept,
      'Of a moving average of the weights, such as 0.9999; 0 for none. All'
      ' evaluations are of the average, and it is what is taken from a'
      ' checkpoint: by INIT_FROM and all commands such as `softmoe export`.',
  ] = 0.0


class All(
    Images,
    Transformer,
    Training,
    Optimizer,
    Layout,
    Precision,
    Intervals,
    Start,
    LongJobs,
):
  """The settings of this module."""
