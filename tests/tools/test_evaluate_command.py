"""What `softmoe evaluate` prints."""

import json

from pax_softmoe.tools import main


def test_json_has_the_fixed_keys_and_counts_every_image(tiny_job, capsys):
  assert main.main(['evaluate', str(tiny_job), '--json']) == 0
  found = json.loads(capsys.readouterr().out)
  assert {'step', 'examples', 'accuracy', 'loss'} <= set(found)
  assert (found['step'], found['examples']) == (7, 2000)
  assert 0 <= found['accuracy'] <= 1


def test_a_step_without_a_checkpoint_is_named(tiny_job, capsys):
  assert main.main(['evaluate', str(tiny_job), '--step=3']) == 1
  assert 'no checkpoint of step 3; it has 7' in capsys.readouterr().err
