"""What is shown while a sweep goes on."""

from pax_softmoe.tuning import progress
from pax_softmoe.tuning import sweep
from sweep_results import trial


def test_bar_says_what_was_compiled_and_what_fits(capsys):
  first, second = trial(), trial(images=32)
  state = sweep.Sweep([first, second], None, seconds=125, finalists=0)
  first.low = {'status': 'ok'}
  second.low = {'status': 'out of memory'}
  state.done = state.planned = 2
  with progress.Bar() as bar:
    bar.show(state)
  text = capsys.readouterr().err
  assert 'compiled 2 of 2, 1 fit' in text
  assert 'at most 2:0' in text
