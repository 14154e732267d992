"""What `softmoe fewshot` refuses and says."""

import json

from pax_softmoe.tools import main
import pytest


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['fewshot', 'JOB', '--shots=1,x'], "got 'x'; give a whole number"),
        (['fewshot', 'JOB', '--shots=0'], "got '0'; give a whole number"),
    ],
)
def test_bad_usage_is_one_line_and_code_2(arguments, message, tiny_job, capsys):
  arguments = [a.replace('JOB', str(tiny_job)) for a in arguments]
  assert main.main(arguments) == 2
  (line,) = capsys.readouterr().err.strip().splitlines()
  assert message in line


def test_accuracies_are_printed_for_each_number_of_shots(tiny_job, capsys):
  command = ['fewshot', str(tiny_job), '--shots=1,5', '--json']
  assert main.main(command) == 0
  found = json.loads(capsys.readouterr().out)
  assert found['step'] == 7
  (accuracies,) = found['accuracy'].values()
  assert sorted(accuracies) == ['1', '5']
  # Features of an untrained model tell garments apart a little.
  assert all(0.1 < a < 1 for a in accuracies.values())


def test_data_that_is_not_there_is_one_line(tiny_job, tmp_path, capsys):
  command = ['fewshot', str(tiny_job), f'--data={tmp_path / "none"}']
  assert main.main(command) == 1
  assert 'has no split test or validation' in capsys.readouterr().err
