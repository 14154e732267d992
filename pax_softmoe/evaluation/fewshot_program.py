"""The few-shot evaluation as one of Pax' evaluations during training.

Pax runs it where it runs the others: every `eval_interval_steps`, with the
weights it has just then, on the mesh of training. Steps in between do not know
of it.
"""

from collections.abc import Sequence
from typing import Any

from absl import logging
import numpy as np
from pax_softmoe.evaluation import fewshot
from paxml import programs
from paxml import summary_utils
from paxml import trainer_lib
from praxis import base_layer
from praxis import py_utils
from praxis import trees

NestedMap = py_utils.NestedMap


def _features_step(
    task: Any,
    state: Any,
    prng_key: Any,
    inputs: NestedMap,
    fprop_dtype: Any,
    var_weight_hparams: Any,
    static_args: Any,
) -> tuple[None, NestedMap]:
  """Returns features, labels and weights of a whole batch, on every host."""
  del prng_key, fprop_dtype, var_weight_hparams, static_args
  hparams = base_layer.JaxContext.HParams(do_eval=True)
  with base_layer.JaxContext.new_context(hparams=hparams):
    predictions = task.model.apply(
        state.mdl_vars, inputs, method=type(task.model).compute_predictions
    )
  return None, NestedMap(
      features=predictions.features,
      labels=inputs.labels.argmax(-1),
      weights=inputs.eval_sample_weights,
  )


class _FeaturesProgram(programs.SingleTaskEvalProgram):
  """Computes the features of one input."""

  def _get_eval_step(self, inputs: Any) -> tuple[Any, Any]:
    if not self._eval_step_created:
      self._eval_step_fn, self._eval_step_input_spec = (
          self._partitioner.partition(
              _features_step, trees.get_shape_dtype(inputs), is_eval=True
          )
      )
      self._eval_step_created = True
    return self._eval_step_fn, self._eval_step_input_spec

  def features(self, state: Any) -> tuple[np.ndarray, np.ndarray]:
    """Returns features [images, D] and labels [images] of all images."""
    parts = []
    static_args = trainer_lib.BaseStepFnStaticArgs(
        unpadded_global_batch_size=self._eval_unpadded_global_batch_size
    )
    while True:
      try:
        inputs = self.eval_input.get_next_padded()
      except StopIteration:
        break
      inputs = self._partitioner.preprocess_inputs(
          self.eval_input, inputs, self.eval_input_partition_spec(inputs)
      )
      outputs = self.eval_step(state, self._eval_prng_seed, inputs, static_args)
      is_real = np.asarray(outputs.weights) > 0
      parts.append([
          np.asarray(outputs.features)[is_real],
          np.asarray(outputs.labels)[is_real],
      ])
    self.eval_input.reset()
    features, labels = zip(*parts)
    return np.concatenate(features), np.concatenate(labels)


class FewShotProgram(programs.BaseEvalProgram):
  """Evaluates a task's `fewshot` and writes accuracies as summaries.

  They are in the folder `fewshot` of the job's summaries, as NAME/10shot for
  each data set and number of shots, with the chosen penalty as 10shot_penalty.
  """

  def __init__(self, plan: Any):
    """Makes the inputs of all data sets.

    Args:
      plan: a `FewShotPlan`.
    """
    super().__init__(plan.inputs(plan.sets[0])[0])
    self._plan = plan
    self._parts = {
        s.name: [_FeaturesProgram(tpl) for tpl in plan.inputs(s)]
        for s in plan.sets
    }

  def setup(
      self,
      task: Any,
      partitioner: Any,
      job_log_dir: Any,
      eval_prng_seed: Any,
      enable_summary_writer: bool = True,
  ) -> None:
    for part in self._all_parts():
      part.setup(task, partitioner, job_log_dir, eval_prng_seed, False)
    # Pax asks every program for the name of its input.
    self._eval_input_pipeline = self._all_parts()[0].eval_input
    folder = programs.get_summary_base_dir(job_log_dir) / 'fewshot'
    self._eval_summary_writer = self._exitstack.enter_context(
        summary_utils.get_summary_writer(folder, enable_summary_writer)
    )

  def run(self, state: Any, step: int) -> programs.EvalProgramOutput:
    sets = {
        name: fewshot.Features(*train.features(state), *test.features(state))
        for name, (train, test) in self._parts.items()
    }
    result = fewshot.evaluate(sets, self._plan.shots, self._plan.seed)
    with self._eval_summary_writer.as_default():
      for name, value in summaries(result).items():
        logging.info('step: %d, few-shot %s: %f', step, name, value)
        summary_utils.write_summary_tensor(
            step, name, value, base_layer.SummaryType.SCALAR
        )
    self._eval_summary_writer.flush()
    return programs.EvalProgramOutput(state)

  # Pax calls these of its own loop.

  def eval_step(self, state, prng_key, inputs, static_args):
    raise NotImplementedError('features are computed by each data set')

  def eval_input_partition_spec(self, inputs):
    raise NotImplementedError('features are computed by each data set')

  def shutdown(self) -> None:
    for part in self._all_parts():
      part.shutdown()
    super().shutdown()

  def _all_parts(self) -> Sequence[_FeaturesProgram]:
    return [part for parts in self._parts.values() for part in parts]


def summaries(result: fewshot.Result) -> dict[str, float]:
  """Returns the numbers of a result by the names of their summaries."""
  found = {f'{k}shot_penalty': p for k, p in result.penalties.items()}
  for name, accuracies in result.accuracies.items():
    for k, accuracy in accuracies.items():
      found[f'{name}/{k}shot'] = accuracy
  return found
