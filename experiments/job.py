"""How Pax runs the experiments of this package."""

from collections.abc import Mapping
from collections.abc import Sequence
import json
from typing import Any

from absl import logging
from pax_softmoe.data.read import fewshot_sets
from pax_softmoe.evaluation import fewshot_program
from pax_softmoe.experiments import settings
from pax_softmoe.experiments import stored
from pax_softmoe.running import record
from pax_softmoe.running import run
from pax_softmoe.sharding import device_mesh
from pax_softmoe.tpu import flags
from pax_softmoe.training import train_program
from paxml import base_executor
from paxml import base_experiment
from paxml import parameterized_experiment
from paxml import partitioning
from paxml import programs
from paxml import tasks_lib
from praxis import base_input
from praxis import pax_fiddle


class Job(base_experiment.BaseExperiment):
  """An experiment as a job of Pax.

  It takes meshes that Pax cannot make by itself (`device_mesh`), trains by
  `train_program` as the `TrainSettings` of its task say, and evaluates its
  few-shot data besides its own.
  """

  def fewshot_plan(self) -> fewshot_sets.FewShotPlan | None:
    """Returns the few-shot evaluation; None without any."""
    raise NotImplementedError

  def job_record(self) -> dict[str, Any]:
    """Returns what the folder of a job keeps of this experiment."""
    raise NotImplementedError

  def partitioner(self) -> partitioning.Partitioner | None:
    return device_mesh.partitioner(self.task())

  def train_programs(self) -> list[programs.BaseTrainProgram]:
    return [train_program.TrainProgram()]

  def eval_programs(self) -> list[programs.BaseEvalProgram]:
    plan = self.fewshot_plan()
    extra = [fewshot_program.FewShotProgram(plan)] if plan else []
    return super().eval_programs() + extra

  def executor(self) -> base_executor.BaseExecutor:
    made = self.job_record()
    _warn_of_missing_flags(made)
    return train_program.Executor(made)

  def validate(self) -> None:
    super().validate()
    run.start(self.job_record(), settings.changed_model)


def _warn_of_missing_flags(made: Mapping[str, Any]) -> None:
  """Says which flags of libtpu the settings for a slice rely on, if not set."""
  cls = record.find(made['experiment'])
  slices = made['settings'].get('SLICE', cls.SLICE)
  environment = stored.find(cls, slices)['environment'] if slices else {}
  if missing := flags.missing(environment.get(flags.VARIABLE, '')):
    logging.warning(
        '%s lacks %s: the estimates for SLICE=%r rely on it, and without it a'
        ' step may be slower or need more memory',
        flags.VARIABLE,
        ' '.join(missing),
        slices,
    )


class ConfiguredJob(Job, parameterized_experiment.ParameterizedExperiment):
  """What `as_config` makes: a job of which Fiddle can change every part."""

  # The annotations make Fiddle leave the configs as they are.
  def __init__(
      self,
      *,
      record: str,
      task: pax_fiddle.Config[tasks_lib.SingleTask],
      train_datasets: Sequence[pax_fiddle.Config[base_input.BaseInput]],
      eval_datasets: Sequence[pax_fiddle.Config[base_input.BaseInput]],
      decode_datasets: Sequence[pax_fiddle.Config[base_input.BaseInput]],
      input_specs_provider: pax_fiddle.Config[
          base_input.BaseInputSpecsProvider
      ],
  ):
    """Takes what Pax asks an experiment for, and what the job's folder keeps.

    Args:
      record: JSON, of `job_record`.
      task: an `ImageTask`.
      train_datasets: to train on.
      eval_datasets: to evaluate on.
      decode_datasets: to decode.
      input_specs_provider: of the shapes of a training batch.
    """
    super().__init__(
        task=task,
        train_datasets=train_datasets,
        eval_datasets=eval_datasets,
        decode_datasets=decode_datasets,
        input_specs_provider=input_specs_provider,
    )
    self._record = record

  def fewshot_plan(self) -> fewshot_sets.FewShotPlan | None:
    return self.task().fewshot

  def job_record(self) -> dict[str, Any]:
    return json.loads(self._record)
