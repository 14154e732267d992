"""What is shown of a job where there is no terminal."""

import io

from pax_softmoe.tools import progress
from pax_softmoe.training import pax_log
from rich import console as rich_console


def test_without_a_terminal_there_are_lines_but_not_hundreds(monkeypatch):
  now = [0.0]
  monkeypatch.setattr(progress.time, 'monotonic', lambda: now[0])
  said = io.StringIO()
  out = rich_console.Console(file=said, width=200)
  reached = pax_log.Progress()
  with progress.shown(out) as show:
    for _ in range(100):
      now[0] += 0.2
      show(reached)
    reached.phase = 'reading data'
    show(reached)
    reached.phase, reached.total_steps, reached.loss = '', 9000, 1.5
    for step in range(3600 * 5):
      now[0] += 0.2
      reached.step = step + 1
      show(reached)
  lines = said.getvalue().splitlines()
  assert lines[0] == '    0 s  loading PaxML and TensorFlow'
  at = [float(line.split(' s ')[0]) for line in lines]
  assert '   20 s  reading data' in lines
  early = [b - a for a, b in zip(at, at[1:]) if b < 240]
  assert max(early) <= 5
  assert 200 < len(lines) < 500
  assert 'step 18000/9000, loss 1.500' in lines[-1] or 'loss 1.500' in lines[-1]
