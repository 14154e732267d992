"""What jobs need that run for days: guards, checkpoints, throughput."""

from collections.abc import Mapping
from typing import Annotated
from typing import Any

import fiddle as fdl
from pax_softmoe.experiments import settings
from pax_softmoe.model_size import counts
from pax_softmoe.running import record
from pax_softmoe.running import run
from pax_softmoe.training import optimizers
from pax_softmoe.training import train_program
from paxml import base_executor
from paxml import base_experiment
from paxml import programs
from paxml import tasks_lib
from praxis import optimizers as praxis_optimizers
from praxis import pax_fiddle

OptimizerTpl = pax_fiddle.Config[praxis_optimizers.BaseOptimizer]


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
    run.start(self.job_record(), settings.changed_model)


class LongJobSettings(LongJob):
  """Long jobs.

  Which checkpoints to keep, guards, accumulated gradients, averaged weights.
  """

  # What `with_settings` changed.
  _changed_settings: Mapping[str, Any] = {}

  SAVE_MAX_TO_KEEP: Annotated[
      settings.Count, 'Newest checkpoints that stay.'
  ] = 3
  SAVE_KEEP_EVERY_STEPS: Annotated[
      settings.Count | None,
      'Checkpoints of multiples of so many steps stay too.',
  ] = None
  VERIFY_CHECKPOINTS: Annotated[
      bool,
      'Whether checkpoints get checksums, which are compared when a job goes'
      ' on.',
  ] = True
  SKIP_STEP_GRADIENT_NORM: Annotated[
      settings.NonNegative,
      'Steps are skipped whose gradient is not finite or has a larger norm; 0'
      ' for any norm.',
  ] = 0.0
  MAX_SKIPPED_STEPS: Annotated[
      settings.Whole,
      'The job ends after so many skipped steps in a row; 0 for never.',
  ] = 100
  ACCUMULATE_STEPS: Annotated[
      settings.Count,
      settings.Kept,
      'Batches of TRAIN_BATCH_SIZE whose gradients make one update. All numbers'
      ' of steps are of batches.',
  ] = 1
  EMA_DECAY: Annotated[
      settings.Decay,
      settings.Kept,
      'Of a moving average of the weights, such as 0.9999; 0 for none. All'
      ' evaluations are of the average, and it is what is taken from a'
      ' checkpoint: by INIT_FROM and all commands such as `softmoe export`.',
  ] = 0.0

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
    train.flop_per_image = 3 * counts.forward_flops(self)
    train.max_skipped_steps = self.MAX_SKIPPED_STEPS
    train.keep_every_steps = self.SAVE_KEEP_EVERY_STEPS
    if not self.VERIFY_CHECKPOINTS:
      train.verify_checkpoints = False
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
    """Raises ValueError if settings of this class do not fit the others."""
    every, interval = self.SAVE_KEEP_EVERY_STEPS, self.SAVE_INTERVAL_STEPS
    if every is not None and every % interval:
      raise ValueError(
          f'{type(self).__name__}: SAVE_KEEP_EVERY_STEPS is {every}, and'
          f' checkpoints are saved every {interval} steps; set it to a multiple'
          ' of that, or None'
      )
