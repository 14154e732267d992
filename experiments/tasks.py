"""From the settings of an experiment to its Pax task."""

from typing import TYPE_CHECKING

import fiddle as fdl
import jax
from pax_softmoe.data.read import fewshot_sets
from pax_softmoe.experiments import validation
from pax_softmoe.model_size import counts
from pax_softmoe.training import image_task
from pax_softmoe.training import optimizers
from pax_softmoe.training import train_program
from praxis import optimizers as praxis_optimizers
from praxis import pax_fiddle
from praxis import py_utils

if TYPE_CHECKING:
  from pax_softmoe.experiments import base

OptimizerTpl = pax_fiddle.Config[praxis_optimizers.BaseOptimizer]
NestedMap = py_utils.NestedMap


def task(
    experiment: 'base.ImageClassification',
) -> pax_fiddle.Config[image_task.ImageTask]:
  """Returns the task: model, optimizer, start, few-shot data, intervals, mesh.

  Args:
    experiment: an `ImageClassification`.

  Raises:
    ValueError: few-shot data is missing.
  """
  e = experiment
  tpl = pax_fiddle.Config(
      image_task.ImageTask,
      name='task',
      model=e.placed_model(),
      init_from=e.INIT_FROM,
      init_head=e.INIT_HEAD,
      fewshot=fewshot_plan(e),
  )
  train = tpl.train = pax_fiddle.Config(
      train_program.TrainSettings, **fdl.ordered_arguments(tpl.train)
  )
  train.num_train_steps = e.NUM_TRAIN_STEPS
  train.random_seed = e.SEED
  train.learner = pax_fiddle.Config(
      optimizers.Learner,
      name='learner',
      loss_name='total_loss',
      optimizer=_accumulated(e, e.optimizer()),
      skip_step_gradient_norm_value=e.SKIP_STEP_GRADIENT_NORM,
      # Adam is elementwise, so stacked layers need no loop over layers.
      vectorize_on_repeat_prefix=False,
  )
  batch = e.sharding_rules().activation('b')[0]
  train.inputs_split_mapping = NestedMap(
      map_1d=(batch,),
      map_2d=(batch, None),
      map_4d=(batch, None, None, None),
  )
  # The backward pass costs two forward passes.
  train.flop_per_image = 3 * counts.forward_flops(e)
  train.summary_interval_steps = e.SUMMARY_INTERVAL_STEPS
  train.variable_norm_summary = False
  train.eval_interval_steps = e.EVAL_INTERVAL_STEPS
  train.eval_skip_train = True
  train.eval_use_ema_states = bool(e.EMA_DECAY)
  train.decode_use_ema_states = bool(e.EMA_DECAY)
  train.max_skipped_steps = e.MAX_SKIPPED_STEPS
  train.save_interval_steps = e.SAVE_INTERVAL_STEPS
  train.save_max_to_keep = e.SAVE_MAX_TO_KEEP
  # Pax would keep one every 12 hours.
  train.save_keep_interval_duration = ''
  train.keep_every_steps = e.SAVE_KEEP_EVERY_STEPS
  train.verify_checkpoints = e.VERIFY_CHECKPOINTS
  train.enable_input_checkpointing = True
  if e.INIT_FROM:
    # Pax asks the task only if there are rules; the task has its own.
    train.init_from_checkpoint_rules = {e.INIT_FROM: None}
  return tpl


def fewshot_plan(
    experiment: 'base.ImageClassification',
) -> fewshot_sets.FewShotPlan | None:
  """Returns the few-shot evaluation of FEWSHOT_DATA; None without any.

  Args:
    experiment: an `ImageClassification`.

  Raises:
    ValueError: a data set is missing.
  """
  data = experiment.FEWSHOT_DATA
  if not data:
    return None
  with validation.about(experiment, 'FEWSHOT_DATA and FEWSHOT_SHOTS'):
    return fewshot_sets.FewShotPlan(
        sets=tuple(
            fewshot_sets.parse(word)
            for word in ([data] if isinstance(data, str) else data)
        ),
        shots=tuple(experiment.FEWSHOT_SHOTS),
        seed=experiment.SEED,
        batch_size=experiment.EVAL_BATCH_SIZE // jax.process_count(),
        image_size=experiment.IMAGE_SIZE,
        channels=experiment.CHANNELS,
        ops=tuple(experiment.fewshot_ops()),
    )


def _accumulated(
    experiment: 'base.ImageClassification', optimizer: OptimizerTpl
) -> OptimizerTpl:
  """Returns an optimizer with ACCUMULATE_STEPS and EMA_DECAY."""
  if experiment.ACCUMULATE_STEPS > 1:
    optimizer = pax_fiddle.Config(
        optimizers.Accumulator,
        optimizer_tpl=optimizer,
        num_sub_batches=experiment.ACCUMULATE_STEPS,
        learning_rate=optimizer.learning_rate,
        lr_schedule=optimizer.lr_schedule.clone(),
    )
  optimizer.ema_decay = experiment.EMA_DECAY
  return optimizer
