"""Reads what a Pax job says of itself in its log."""

from collections.abc import Sequence
import dataclasses
import re

from pax_softmoe.running import marks

LOADING = 'loading PaxML and TensorFlow'
_PHASES = {
    '[PAX STATUS]: Program start': 'loading the experiment',
    '[PAX STATUS]:  Starting eval_step': 'evaluating',
    '[PAX STATUS]: Saving checkpoint': 'saving',
    '[PAX STATUS]: Final checkpoint saved': 'ending',
}
_TOTAL = re.compile(r'train\.num_train_steps : (\d+)')
_STEP = re.compile(r'step_i: (\d+), training loss: (\S+)')
_SCALARS = re.compile(
    r"weighted_scalars: .*'accuracy': \(array\((?P<value>[^,)]+).*?"
    r'array\((?P<weight>[^,)]+)'
)
_RATE = re.compile(r'steps/sec: (\S+)')
_EVAL = re.compile(r'step: (\d+), eval test .* loss: (\S+)')
_METRIC = re.compile(r'programs\.py.*\]   (\w+)=(\S+) \(weight=([\d.]+)\)')
# A line of a log of its own, such as `I1126 07:28:17.885723 139 programs.py:1]`.
_LOG_LINE = re.compile(r'[IWEF]\d{4} |(INFO|WARNING):')


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
    phase: what the job does now, if that is no training step.
    has_begun: whether the folder is the job's.
    error: why the job ended, in one line, if it says so.
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
  phase: str = LOADING
  has_begun: bool = False
  error: str | None = None

  def read(self, line: str) -> None:
    """Takes in one line of the log."""
    if mark := marks.read(line):
      self._read_mark(*mark)
    elif phase := next((p for text, p in _PHASES.items() if text in line), ''):
      self.phase = phase
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
      self.phase = ''
    elif match := _SCALARS.search(line):
      self.accuracy = float(match['value'])
      self.batch_size = round(float(match['weight']))

  def _read_mark(self, kind: str, text: str) -> None:
    if kind == 'ended':
      self.error = text
    elif kind == 'began':
      self.has_begun = True
      self.phase = 'building the model'
    else:
      self.phase = text


_FLAGS_ERROR = 'FATAL Flags parsing error'


def last_error(lines: Sequence[str]) -> str | None:
  """Returns in one line why a program ended that does not say so by a mark.

  Args:
    lines: the last of its output.

  Returns:
    The last line of the last traceback, what absl says of a flag, or the last
    line that is of no log; None if there is none.
  """
  found = None
  state = ''
  for line in lines:
    if line.startswith('Traceback (most recent call last)'):
      state = 'traceback'
    elif line.startswith(_FLAGS_ERROR):
      # What absl says of it stands behind, or in the next line.
      if said := line.removeprefix(_FLAGS_ERROR).strip(': \n'):
        return said
      state = 'flags'
    elif state == 'traceback' and line[:1].strip():
      found, state = line, 'done'
    elif state == 'flags' and line.strip():
      return line.strip()
    elif not state and line.strip() and not _LOG_LINE.match(line):
      found = line.strip()
  # Messages of our own need no name of an exception before them.
  return found and re.sub(r'^(?:[\w.]+\.)?(?:ValueError|OSError): ', '', found)
