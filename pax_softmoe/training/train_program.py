"""A train program for jobs that run for days without anyone looking."""

import collections
from collections.abc import Mapping
import dataclasses
import time
from typing import Any

from absl import logging
import jax
from jax import numpy as jnp
import numpy as np
from pax_softmoe.checkpoints import managing
from pax_softmoe.running import ending
from pax_softmoe.running import marks
from pax_softmoe.running import record
from pax_softmoe.running import run
from pax_softmoe.tpu import hardware
from paxml import executors
from paxml import programs
from paxml import tasks_lib
import tensorflow as tf

# In all modes, Pax makes the manager before anything of a job is called.
managing.install()

_VALID = 'learning/is_valid_step'
# Values of a step are on the host by the time this many others were started.
_LAG_STEPS = 4


class DivergenceError(RuntimeError):
  """Too many steps in a row were skipped."""


@dataclasses.dataclass(frozen=True)
class TrainSettings(tasks_lib.SingleTask.Train):
  """Pax' settings of training, and what `TrainProgram` and `Executor` read.

  Attributes:
    flop_per_image: of a training step, forward and backward.
    max_skipped_steps: after how many steps in a row that the learner skipped to
      raise `DivergenceError`; 0 for never.
    keep_every_steps: checkpoints of its multiples are all kept; None for none.
    verify_checkpoints: whether checkpoints get checksums, which are compared
      when a job goes on.
  """

  flop_per_image: float = 0.0
  max_skipped_steps: int = 0
  keep_every_steps: int | None = None
  verify_checkpoints: bool = True


class TrainProgram(programs.SingleTaskTrainProgram):
  """Trains, and

  * counts the steps that the learner skipped because of their gradients, and
    raises `DivergenceError` after too many in a row;
  * writes images a second, the share of the time that the host waited for data,
    and model FLOPs utilization (MFU) on devices whose peak is known, to the log
    and to TensorBoard, under `throughput/`;
  * ends on a signal as after its last step, with a checkpoint, see `ending`.
    With several processes, which have to agree on the step, that takes SIGTERM
    and Pax' own flags --jax_fully_async_checkpoint and
    --exit_after_ondemand_checkpoint.
  """

  def __init__(self):
    super().__init__()
    # Raises what went wrong in saving since it was last asked.
    self.check_for_errors = lambda: None
    self._pending = collections.deque()
    self._skipped = self._skipped_in_a_row = 0
    self._waited = 0.0

  def setup(self, *args: Any, **kwargs: Any) -> None:
    super().setup(*args, **kwargs)
    ending.at_last(self._exitstack.close)

  def should_run(self, state: Any, step: int) -> bool:
    self.check_for_errors()
    if ending.is_stopping():
      logging.info('[PAX STATUS]: ending at step %d', step)
      return False
    return super().should_run(state, step)

  def shutdown(self) -> None:
    while self._pending:
      self._count_skipped()
    super().shutdown()

  def train_step(self, step: int, state: Any, *args: Any, **kwargs: Any) -> Any:
    if step == self._initial_step and jax.default_backend() == 'cpu':
      # What was restored may lie in memory that is not JAX' own, which a step
      # from the compilation cache overwrites and frees (seen with jax 0.5.3).
      state = jax.tree_util.tree_map(jnp.copy, state)
      marks.write('phase', 'compiling, first step')
    made = super().train_step(step, state, *args, **kwargs)
    ending.trained(step + 1)
    for name, value in made[2].summary_tensors.items():
      if name.startswith(_VALID):
        self._pending.append((step, value))
    while len(self._pending) > _LAG_STEPS:
      self._count_skipped()
    return made

  def _count_skipped(self) -> None:
    step, valid = self._pending.popleft()
    if np.all(_local(valid)):
      self._skipped_in_a_row = 0
      return
    self._skipped += 1
    self._skipped_in_a_row += 1
    logging.warning(
        'Step %d was skipped because of its gradient, %d in a row',
        step,
        self._skipped_in_a_row,
    )
    most = self._task.train.max_skipped_steps
    if self._skipped_in_a_row == most:
      raise DivergenceError(
          f'step {step}: the gradients of {most} steps in a row were not'
          ' finite, or above SKIP_STEP_GRADIENT_NORM; lower LEARNING_RATE, or'
          ' start from an earlier checkpoint'
      )

  def _compute_steps_per_sec(self, step: int) -> float:
    seconds = time.time() - self._train_summary_last_time
    is_first = self._train_summary_last_step < self._initial_step
    rate = super()._compute_steps_per_sec(step)
    waited = self._train_input.seconds_waited
    share = min(1.0, (waited - self._waited) / seconds)
    self._waited = waited
    if is_first:  # Most of it was compilation.
      return rate
    images = rate * self._train_unpadded_global_batch_size
    values = {
        'images_per_second': images,
        'data_wait': share,
        'skipped_steps': self._skipped,
    }
    if chip := hardware.find_chip(jax.devices()[0].device_kind):
      values['mfu'] = hardware.utilization(
          chip, images, self._task.train.flop_per_image, jax.device_count()
      )
    text = '  '.join(f'{name}={value:.4g}' for name, value in values.items())
    logging.info('[PAX STATUS]: throughput: %s', text)
    with self.summary_writer.as_default():
      for name, value in values.items():
        tf.summary.scalar(f'throughput/{name}', value, step + 1)
    return rate


class Executor(executors.DefaultExecutor):
  """Pax' executor, which also

  * keeps every checkpoint of certain steps, where Pax keeps some by the time
    that has passed;
  * has checkpoints checked, see `managing`;
  * writes down what the job runs, once that is known to fit its checkpoint;
  * leaves the process if the job fails or is stopped, see `ending`.
  """

  def __init__(self, made: Mapping[str, Any]):
    """Takes the record of the experiment, see `record`."""
    super().__init__()
    self._record = made

  def setup(
      self,
      jax_task: Any,
      job_log_dir: Any,
      checkpointer: Any,
      *args: Any,
      **kwargs: Any,
  ) -> None:
    train, manager = jax_task.train, checkpointer.checkpoint_manager
    done = checkpointer.step_to_restore or 0
    if done > train.num_train_steps:
      raise ValueError(
          f'the job in {job_log_dir} is at step {done}, past the'
          f' {train.num_train_steps} that it should end at; set NUM_TRAIN_STEPS'
          f' to {done} or more, or choose another folder with --job_dir'
      )
    manager.verify = train.verify_checkpoints
    # Pax does not pass this option of orbax on.
    orbax = manager._manager
    orbax._options.keep_period = train.keep_every_steps
    ending.at_last(checkpointer.wait_until_finished)
    super().setup(jax_task, job_log_dir, checkpointer, *args, **kwargs)
    # Pax would hear of a failed save at the next one.
    self._train_program.check_for_errors = orbax.check_for_errors
    if jax.process_index() == 0:
      record.write(job_log_dir, self._record)

  def _maybe_create_train_input(
      self, task: Any, step: int | None, train_input_p: Any
  ) -> Any:
    marks.write('phase', 'reading data')
    made = super()._maybe_create_train_input(task, step, train_input_p)
    weights = 'making weights' if step is None else f'restoring step {step}'
    marks.write('phase', weights)
    return made

  def start(self) -> None:
    try:
      super().start()
    except SystemExit as ended:
      # Pax' own end, of several processes that have saved. All wait for each
      # other: one that misses the first would abort.
      if jax.process_count() > 1:
        ending.at_last(jax.distributed.shutdown)
      ending.leave(
          ended.code or 0,
          'stopped, as all processes of the job; its checkpoint is saved; the'
          ' same command goes on from it',
      )
    ending.leave_if_stopping()
    run.finish()


def _local(value: Any) -> np.ndarray:
  """Returns a value that all devices have."""
  value = jax.tree_util.tree_leaves(value)[0]
  return np.asarray(getattr(value, 'addressable_data', lambda _: value)(0))
