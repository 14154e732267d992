"""What jobs need that run for days: guards, checkpoints, throughput."""

from collections.abc import Mapping
from typing import Any

import fiddle as fdl
from pax_softmoe import optimizers
from pax_softmoe.analysis import model_size
from pax_softmoe.models import train_program
from pax_softmoe.running import record
from pax_softmoe.running import run
from paxml import base_executor
from paxml import base_experiment
from paxml import programs
from paxml import tasks_lib
from praxis import optimizers as praxis_optimizers
from praxis import pax_fiddle

OptimizerTpl = pax_fiddle.Config[praxis_optimizers.BaseOptimizer]


def _changed_model(cls: type, old: Any, new: Any) -> list[tuple[str, Any, Any]]:
  return []  # `settings.changed_model`, once it is there.


class LongJob(base_experiment.BaseExperiment):
  """Trains by `train_program`, as the `TrainSettings` of its task say."""

  def train_programs(self) -> list[programs.BaseTrainProgram]:
    return [train_program.TrainProgram()]

  def executor(self) -> base_executor.BaseExecutor:
    return train_program.Executor(self.job_record())

  def job_record(self) -> dict[str, Any]:
    """Returns what the folder of a job keeps of this experiment."""
    return record.of(type(self), {}, run.fiddle_flags())

  def validate(self) -> None:
    super().validate()
    run.start(self.job_record(), _changed_model)


class LongJobSettings(LongJob):
  """What `base.ImageClassification` has besides."""

  # What `with_settings` changed.
  _changed_settings: Mapping[str, Any] = {}

  # The newest checkpoints stay, and all of multiples of some number of steps.
  SAVE_MAX_TO_KEEP: int = 3
  SAVE_KEEP_EVERY_STEPS: int | None = None

  # Steps are skipped whose gradient is not finite or has a norm above this (0:
  # any norm will do), and the job ends after so many in a row (0: never).
  SKIP_STEP_GRADIENT_NORM: float = 0.0
  MAX_SKIPPED_STEPS: int = 100

  # Batches of TRAIN_BATCH_SIZE whose gradients make one update. All numbers of
  # steps are of batches.
  ACCUMULATE_STEPS: int = 1

  # Of a moving average of the weights; 0 for none. All evaluations are of the
  # average, and it is what is taken from a checkpoint: by INIT_FROM and all
  # commands such as `softmoe export`.
  EMA_DECAY: float = 0.0

  def job_record(self) -> dict[str, Any]:
    return record.of(type(self), self._changed_settings, run.fiddle_flags())

  def train_settings(
      self, train: pax_fiddle.Config[tasks_lib.SingleTask.Train]
  ) -> pax_fiddle.Config[train_program.TrainSettings]:
    """Returns the training settings of a task with those of this class."""
    train = pax_fiddle.Config(
        train_program.TrainSettings, **fdl.ordered_arguments(train)
    )
    # The backward pass costs two forward passes.
    train.flop_per_image = 3 * model_size.forward_flops(self)
    train.max_skipped_steps = self.MAX_SKIPPED_STEPS
    train.keep_every_steps = self.SAVE_KEEP_EVERY_STEPS
    train.save_max_to_keep = self.SAVE_MAX_TO_KEEP
    # Pax would keep one every 12 hours.
    train.save_keep_interval_duration = ''
    train.eval_use_ema_states = bool(self.EMA_DECAY)
    train.decode_use_ema_states = bool(self.EMA_DECAY)
    return train

  def accumulated(self, optimizer: OptimizerTpl) -> OptimizerTpl:
    """Returns an optimizer with ACCUMULATE_STEPS and EMA_DECAY."""
    if self.ACCUMULATE_STEPS > 1:
      optimizer = pax_fiddle.Config(
          optimizers.Accumulator,
          optimizer_tpl=optimizer,
          num_sub_batches=self.ACCUMULATE_STEPS,
          learning_rate=optimizer.learning_rate,
          lr_schedule=optimizer.lr_schedule.clone(),
      )
    optimizer.ema_decay = self.EMA_DECAY
    return optimizer

  def check_long_job(self) -> None:
    """Raises ValueError if a setting of this class makes no sense."""
    name = type(self).__name__
    for setting, least in (
        ('ACCUMULATE_STEPS', 1),
        ('SAVE_MAX_TO_KEEP', 1),
        ('MAX_SKIPPED_STEPS', 0),
        ('SKIP_STEP_GRADIENT_NORM', 0),
    ):
      value = getattr(self, setting)
      if value < least:
        raise ValueError(
            f'{name}: {setting} is {value}; set it to {least} or more'
        )
    if not 0 <= self.EMA_DECAY < 1:
      raise ValueError(
          f'{name}: EMA_DECAY is {self.EMA_DECAY}; set it to 0 for none, or'
          ' below 1, such as 0.9999'
      )
    every, interval = self.SAVE_KEEP_EVERY_STEPS, self.SAVE_INTERVAL_STEPS
    if every is not None and (every < 1 or every % interval):
      raise ValueError(
          f'{name}: SAVE_KEEP_EVERY_STEPS is {every}, and checkpoints are saved'
          f' every {interval} steps; set it to a multiple of that, or None'
      )
