"""Reads what a Pax job says of itself in its log."""

import dataclasses
import re

_TOTAL = re.compile(r'train\.num_train_steps : (\d+)')
_STEP = re.compile(r'step_i: (\d+), training loss: (\S+)')
_SCALARS = re.compile(
    r"weighted_scalars: .*'accuracy': \(array\((?P<value>[^,)]+).*?"
    r'array\((?P<weight>[^,)]+)'
)
_RATE = re.compile(r'steps/sec: (\S+)')
_EVAL = re.compile(r'step: (\d+), eval test .* loss: (\S+)')
_METRIC = re.compile(r'programs\.py.*\]   (\w+)=(\S+) \(weight=([\d.]+)\)')
_ERROR = re.compile(r'^(?:[\w.]*\.)?(\w*(?:Error|Exception|Interrupt)): (.+)')


@dataclasses.dataclass
class Progress:
  """How far a job is.

  Attributes:
    total_steps: steps to train in all; None until the log says.
    step: last step reported.
    loss: training loss of that step.
    accuracy: training accuracy of that step.
    batch_size: images of a step.
    steps_per_second: over the last few steps, without evaluations.
    eval_step: step of the last evaluation.
    evaluation: metrics of the last evaluation, by name.
    eval_examples: number of examples in it.
    error: the last error, in one line.
  """

  total_steps: int | None = None
  step: int = 0
  loss: float | None = None
  accuracy: float | None = None
  batch_size: int | None = None
  steps_per_second: float | None = None
  eval_step: int | None = None
  evaluation: dict[str, float] = dataclasses.field(default_factory=dict)
  eval_examples: int = 0
  error: str | None = None

  def read(self, line: str) -> None:
    """Takes in one line of the log."""
    if match := _ERROR.match(line):
      self.error = match[2].strip()
    elif match := _TOTAL.search(line):
      self.total_steps = int(match[1])
    elif match := _EVAL.search(line):
      self.eval_step = int(match[1])
      self.evaluation = {'loss': float(match[2])}
    elif (match := _METRIC.search(line)) and self.eval_step is not None:
      self.evaluation[match[1]] = float(match[2])
      self.eval_examples = round(float(match[3]))
    elif match := _RATE.search(line):
      self.steps_per_second = float(match[1])
    elif match := _STEP.search(line):
      self.step = int(match[1])
      self.loss = float(match[2])
    elif match := _SCALARS.search(line):
      self.accuracy = float(match['value'])
      self.batch_size = round(float(match['weight']))
