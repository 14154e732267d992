"""Settings of weights to start from, and of the few-shot evaluation."""

from collections.abc import Sequence
from typing import Annotated
from typing import Any

import jax
from pax_softmoe.data.read import fewshot_sets
from pax_softmoe.evaluation import fewshot_program
from pax_softmoe.experiments import settings
from pax_softmoe.experiments import validation
from pax_softmoe.training import image_task
from paxml import base_experiment
from paxml import programs
from paxml import tasks_lib
from praxis import base_layer
from praxis import pax_fiddle

LayerTpl = pax_fiddle.Config[base_layer.BaseLayer]


class FewShotEvaluation(base_experiment.BaseExperiment):
  """Evaluates the few-shot data of its task besides its own."""

  def eval_programs(self) -> list[programs.BaseEvalProgram]:
    plan = getattr(self.task(), 'fewshot', None)
    extra = [fewshot_program.FewShotProgram(plan)] if plan else []
    return super().eval_programs() + extra


class StartAndFewShot(FewShotEvaluation):
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
      Sequence[settings.Count],
      settings.Len(1),
      settings.Distinct(),
      'Training images of each class in the few-shot evaluation.',
  ] = (1, 5, 10, 25)

  def fewshot_ops(self) -> Sequence[Any]:
    """Returns what is done to each image of few-shot data, in order."""
    raise NotImplementedError

  def fewshot_plan(self) -> fewshot_sets.FewShotPlan | None:
    """Returns the few-shot evaluation of FEWSHOT_DATA; None without any.

    Raises:
      ValueError: a data set is missing.
    """
    data = self.FEWSHOT_DATA
    if not data:
      return None
    with validation.about(self, 'FEWSHOT_DATA and FEWSHOT_SHOTS'):
      return fewshot_sets.FewShotPlan(
          sets=tuple(
              fewshot_sets.parse(word)
              for word in ([data] if isinstance(data, str) else data)
          ),
          shots=tuple(self.FEWSHOT_SHOTS),
          seed=self.SEED,
          batch_size=self.EVAL_BATCH_SIZE // jax.process_count(),
          image_size=self.IMAGE_SIZE,
          channels=self.CHANNELS,
          ops=tuple(self.fewshot_ops()),
      )

  def task_tpl(self, model: LayerTpl) -> pax_fiddle.Config:
    """Returns a task with a model, where it starts and its few-shot data."""
    plan = self.fewshot_plan()
    if not self.INIT_FROM and plan is None:
      return pax_fiddle.Config(tasks_lib.SingleTask, name='task', model=model)
    task = pax_fiddle.Config(
        image_task.ImageTask,
        name='task',
        model=model,
        init_from=self.INIT_FROM,
        init_head=self.INIT_HEAD,
        fewshot=plan,
    )
    if self.INIT_FROM:
      # Pax asks the task only if there are rules; the task has its own.
      task.train.init_from_checkpoint_rules = {self.INIT_FROM: None}
    return task
