"""What all experiments share: settings in, a Pax task and data sets out."""

from collections.abc import Mapping
from collections.abc import Sequence
import json
import math
from typing import Any

import jax
from jax import numpy as jnp
from pax_softmoe import compat
from pax_softmoe.data.read import fewshot_sets
from pax_softmoe.data.read import image_input
from pax_softmoe.data.read import sources
from pax_softmoe.experiments import declared
from pax_softmoe.experiments import job
from pax_softmoe.experiments import settings
from pax_softmoe.experiments import stored
from pax_softmoe.experiments import tasks
from pax_softmoe.experiments import validation
from pax_softmoe.layers import classification
from pax_softmoe.layers import vit
from pax_softmoe.running import ending
from pax_softmoe.running import record
from pax_softmoe.running import run
from pax_softmoe.sharding import annotate
from pax_softmoe.sharding import axis_rules
from pax_softmoe.training import optimizers
from paxml import parameterized_experiment
from paxml import tasks_lib
from praxis import base_input
from praxis import base_layer
from praxis import pax_fiddle
from praxis import schedules

LayerTpl = pax_fiddle.Config[base_layer.BaseLayer]

ending.install()


class ImageClassification(job.Job, declared.All):
  """Trains a vision transformer to classify images.

  Settings are class attributes in capitals, which `declared` and other bases
  declare as `settings` describes. A subclass changes them by assignment; a
  command line does through `as_config`.
  """

  # Settings without which it cannot run, for the command in its docstring.
  needs: Sequence[str] = ()
  # What `with_settings` changed.
  _changed_settings: Mapping[str, Any] = {}

  def __init_subclass__(cls, **kwargs: Any):
    super().__init_subclass__(**kwargs)
    if vars(cls).get('SLICE') is not None:
      settings.check(cls, ['SLICE'])
      with validation.about(cls, 'SLICE'):
        tuned = stored.find(cls, cls.SLICE)['settings']
      for name in tuned.keys() - vars(cls).keys():
        setattr(cls, name, tuned[name])

  @classmethod
  def as_config(
      cls, /, **changes: Any
  ) -> pax_fiddle.Config[parameterized_experiment.ParameterizedExperiment]:
    """Returns the experiment as a Fiddle config, with some settings changed.

    For the command line:

        --fdl='config:pax_softmoe.experiments.NAME.as_config(NUM_EXPERTS=4)'
        --fdl=set:task.train.num_train_steps=20

    Args:
      **changes: new values of settings of this class.

    Raises:
      ValueError: see `with_settings`, or the settings do not fit together.
    """
    experiment = cls.with_settings(**changes)()
    with run.only_checking():
      experiment.validate()
    return pax_fiddle.Config(
        job.ConfiguredJob,
        record=json.dumps(experiment.job_record()),
        task=experiment.task(),
        train_datasets=experiment.train_datasets(),
        eval_datasets=experiment.eval_datasets(),
        decode_datasets=experiment.decode_datasets(),
        input_specs_provider=experiment.get_input_specs_provider_params(),
    )

  @classmethod
  def with_settings(cls, /, **changes: Any) -> type['ImageClassification']:
    """Returns this experiment with some settings changed.

    Args:
      **changes: new values of settings of this class.

    Raises:
      ValueError: a setting does not exist, or does not take a value.
    """
    settings.check_names(cls, changes)
    members = {**changes, '__doc__': cls.__doc__}
    members['_changed_settings'] = {**cls._changed_settings, **changes}
    changed = type(cls.__name__, (cls,), members)
    changed.__module__ = cls.__module__
    settings.check(changed)
    return changed

  def check_settings(self) -> None:
    """Checks that the settings fit together and the mesh, whatever runs it.

    Raises:
      ValueError: they do not; the message says which to change and how.
    """
    validation.check_settings(self)

  def validate(self) -> None:
    """Checks the settings, and that they fit this machine and the data.

    Raises:
      ValueError: they do not; the message says which to change and how.
    """
    validation.validate(self)
    super().validate()

  # Data.

  def source(self) -> sources.ImageSource | None:
    """Returns the images and labels; None while DATA_DIR is needed and empty."""
    raise NotImplementedError

  def train_ops(self) -> Sequence[Any]:
    """Returns what is done to each image in training, in order."""
    raise NotImplementedError

  def eval_ops(self) -> Sequence[Any]:
    """Returns what is done to each image in evaluation, in order."""
    raise NotImplementedError

  def fewshot_ops(self) -> Sequence[Any]:
    """Returns what is done to each image of few-shot data, in order."""
    raise NotImplementedError

  def _dataset(
      self, name: str, split: str, is_training: bool
  ) -> pax_fiddle.Config[base_input.BaseInput]:
    batch_size = self.TRAIN_BATCH_SIZE if is_training else self.EVAL_BATCH_SIZE
    return pax_fiddle.Config(
        image_input.ImageInput,
        name=name,
        source=self.source(),
        split_name=split,
        is_training=is_training,
        batch_size=per_process(batch_size),
        image_size=self.IMAGE_SIZE,
        channels=self.CHANNELS,
        ops=tuple(self.train_ops() if is_training else self.eval_ops()),
        mixup=self.MIXUP if is_training else 0.0,
        single_label=self.LOSS == 'softmax',
        input_random_seed=self.SEED,
    )

  def datasets(self) -> list[pax_fiddle.Config[base_input.BaseInput]]:
    """Returns the training set and every evaluation split."""
    train = self._dataset('train', self.TRAIN_SPLIT, is_training=True)
    return [train] + self.decode_datasets()

  def decode_datasets(self) -> list[pax_fiddle.Config[base_input.BaseInput]]:
    """Returns every evaluation split."""
    return [self._dataset(s, s, is_training=False) for s in self.EVAL_SPLITS]

  def eval_input(self, split: str | None = None) -> base_input.BaseInput:
    """Returns the images of an evaluation split; by default the first.

    Raises:
      ValueError: DATA_DIR is needed and empty, or there is no such split.
    """
    split = split or self.EVAL_SPLITS[0]
    return self._dataset(split, split, is_training=False).Instantiate()

  def get_input_specs_provider_params(
      self,
  ) -> pax_fiddle.Config[base_input.BaseInputSpecsProvider]:
    """Returns the shapes of a training batch, without touching data."""
    return pax_fiddle.Config(
        image_input.ImageInputSpecs,
        batch_size=per_process(self.TRAIN_BATCH_SIZE),
        image_size=self.IMAGE_SIZE,
        channels=self.CHANNELS,
        num_classes=self.NUM_CLASSES,
    )

  # Model.

  def moe_layers(self) -> tuple[int, ...]:
    """Returns the indices of the blocks with experts."""
    if self.MOE_LAYERS is not None:
      return tuple(self.MOE_LAYERS)
    return tuple(range(self.NUM_LAYERS // 2, self.NUM_LAYERS))

  def moe_tpl(self) -> LayerTpl | None:
    """Returns the template of the mixture, or None for a dense model."""
    return None

  def num_moe_layers(self) -> int:
    """Returns the number of blocks with experts."""
    return 0 if self.moe_tpl() is None else len(self.moe_layers())

  def num_experts(self) -> int:
    """Returns the experts of each MoE layer; 1 for a dense model."""
    moe = self.moe_tpl()
    return 1 if moe is None else moe.num_experts

  def group_size(self) -> int:
    """Returns how many images compete for the experts' slots; 1 for none."""
    return 1

  def model(self) -> LayerTpl:
    """Returns the template of the model, without its place on a mesh."""
    vit_tpl = pax_fiddle.Config(
        vit.VisionTransformer,
        image_size=self.IMAGE_SIZE,
        patch_size=self.PATCH_SIZE,
        channels=self.CHANNELS,
        model_dims=self.MODEL_DIMS,
        hidden_dims=self.HIDDEN_DIMS,
        num_heads=self.NUM_HEADS,
        num_layers=self.NUM_LAYERS,
        remat=self.REMAT,
        scan_layers=self.SCAN_LAYERS,
    )
    if not self.QK_NORM:
      vit_tpl.block_tpl.attention_tpl.qk_norm = False
    moe = self.moe_tpl()
    if moe is not None:
      if self.EXCHANGE_PARTS != 1:
        moe.exchange_parts = self.EXCHANGE_PARTS
      vit_tpl.moe_layers = self.moe_layers()
      vit_tpl.moe_tpl.moe_tpl = moe
    return pax_fiddle.Config(
        classification.ImageClassifier,
        name='classifier',
        vit_tpl=vit_tpl,
        num_classes=self.NUM_CLASSES,
        loss=self.LOSS,
        dtype=jnp.float32,
        fprop_dtype=compat.dtype(self.COMPUTE_DTYPE),
    )

  def weight_decays(self) -> Sequence[tuple[str, float]]:
    """Returns (name pattern, decay); the first pattern that matches counts."""
    return (
        ('head/kernel', self.HEAD_DECAY),
        # Kernels by the names they have in praxis' layers and in ours; not
        # biases, norms, positions or slots.
        (r'.*/(kernel|w|w[qkvoi])', self.KERNEL_DECAY),
    )

  def lr_schedule(self) -> pax_fiddle.Config[schedules.BaseSchedule]:
    """Returns the schedule, a factor of LEARNING_RATE."""
    return pax_fiddle.Config(
        optimizers.RsqrtWithCooldown,
        warmup_steps=self.WARMUP_STEPS,
        cooldown_steps=self.COOLDOWN_STEPS,
        total_steps=self.NUM_TRAIN_STEPS,
        timescale=self.TIMESCALE,
    )

  def optimizer(self) -> pax_fiddle.Config[optimizers.AdamW]:
    """Returns the optimizer with its schedule."""
    return pax_fiddle.Config(
        optimizers.AdamW,
        learning_rate=self.LEARNING_RATE,
        lr_schedule=self.lr_schedule(),
        clip_gradient_norm_to_value=self.CLIP_GRADIENT_NORM,
        weight_decays=self.weight_decays(),
        first_moment_dtype=compat.dtype(self.FIRST_MOMENT_DTYPE),
    )

  # Mesh.

  def sharding_rules(self) -> axis_rules.ShardingRules:
    """Returns the preset with the overrides applied."""
    return axis_rules.preset(self.SHARDING).override(self.SHARDING_OVERRIDES)

  def ici_mesh_shape(self) -> tuple[int, ...]:
    """Returns the mesh of one slice, (replica, data, expert, mdl)."""
    if self.ICI_MESH_SHAPE is not None:
      return tuple(self.ICI_MESH_SHAPE)
    slices = math.prod(self.DCN_MESH_SHAPE or (1,))
    chips = max(1, jax.device_count() // slices)
    return axis_rules.default_mesh_shape(chips, self.num_experts())

  def mesh_shape(self) -> tuple[int, ...]:
    """Returns the mesh over all slices."""
    dcn = self.DCN_MESH_SHAPE or (1, 1, 1, 1)
    return tuple(i * d for i, d in zip(self.ici_mesh_shape(), dcn))

  def placed_model(self) -> LayerTpl:
    """Returns the template of the model with its place on the mesh."""
    model = self.model()
    annotate.annotate_classifier(model, self.sharding_rules())
    model.mesh_axis_names = axis_rules.MESH_AXES
    model.ici_mesh_shape = self.ici_mesh_shape()
    model.dcn_mesh_shape = self.DCN_MESH_SHAPE
    return model

  # Task.

  def task(self) -> pax_fiddle.Config[tasks_lib.SingleTask]:
    """Returns the Pax task: model, optimizer, intervals, mesh."""
    return tasks.task(self)

  def fewshot_plan(self) -> fewshot_sets.FewShotPlan | None:
    return tasks.fewshot_plan(self)

  def job_record(self) -> dict[str, Any]:
    return record.of(type(self), self._changed_settings, run.fiddle_flags())


def per_process(global_batch_size: int) -> int:
  """Returns what one process feeds of a global batch."""
  return global_batch_size // jax.process_count()
