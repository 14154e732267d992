"""The command line of `softmoe`, and how its commands end."""

import signal
import subprocess
import sys

from pax_softmoe.tools import list_command
from pax_softmoe.tools import main
import pytest


@pytest.mark.parametrize(
    'command, message',
    [
        ('', 'arguments are required: COMMAND'),
        ('nothing', "invalid choice: 'nothing'"),
        ('train', 'arguments are required: experiment; see softmoe train'),
        ('train ViTS16 extra', 'unrecognized arguments: extra'),
        ('train ViTS16 extra -- --flag', 'unrecognized arguments: extra'),
        ('train ViTS16 --job_dir=', "''; give a path, or a URL"),
        ('train ViTS16 --job_dir=nothing://x', '; give a path, or a URL'),
        ('evaluate /j --step=-1', "'-1'; give a whole number of 0 or more"),
        ('routing /j --images 0', "'0'; give a whole number of 1 or more"),
        ('routing /j --images=-3', "'-3'; give a whole number of 1"),
        ('predict /j a.png --top=0', "'0'; give a whole number of 1"),
        ('fewshot /j --shots=1,0', "'0'; give a whole number of 1 or more"),
        ('fewshot /j --seed=x', "'x'; give a whole number of 0 or more"),
        ('tune ViTS16 --images_per_chip=0', "'0'; give a whole number of 1"),
        ('tune ViTS16 --budget_minutes=-1', "'-1'; give a number greater"),
        ('tune ViTS16 --cache=gs://b/c', 'give a path of this machine'),
        ('bench --rounds=0', "--rounds: got '0'; give a whole number"),
        ('study --steps=0', "--steps: got '0'; give a whole number"),
        ('data /d --output=o --images_per_shard=0', "'0'; give a whole num"),
        ('data /d --output=o --validation_fraction=1', "'1'; give a number"),
        ('import x --experiment=E --output=o --noise=nan', "'nan'; give a"),
    ],
)
def test_a_wrong_command_line_is_one_line(command, message, capsys):
  assert main.main(command.split()) == 2
  (line,) = capsys.readouterr().err.strip().splitlines()
  assert line.startswith('softmoe: ') and message in line
  assert line.endswith('--help')


@pytest.mark.parametrize(
    'error, code, line',
    [
        (ValueError('set X\nmore'), 1, 'set X'),
        (
            FileNotFoundError(2, 'not there', '/x'),
            1,
            "[Errno 2] not there: '/x'",
        ),
        (KeyError('x'), 1, "KeyError: 'x'; SOFTMOE_TRACEBACK=1 in the"),
        (AssertionError(), 1, 'AssertionError; SOFTMOE_TRACEBACK=1 in the'),
        (KeyboardInterrupt(), 130, 'stopped'),
    ],
)
def test_any_failure_is_one_line(error, code, line, monkeypatch, capsys):
  def fail(_):
    raise error

  monkeypatch.setattr(list_command, 'run', fail)
  assert main.main(['list']) == code
  (said,) = capsys.readouterr().err.splitlines()
  assert said.startswith(f'softmoe: {line}')


def test_ctrl_c_while_a_command_loads_is_one_line(monkeypatch, capsys):
  def stop(_):
    raise KeyboardInterrupt

  monkeypatch.setattr(main.importlib, 'import_module', stop)
  assert main.main(['list']) == 130
  assert capsys.readouterr().err == 'softmoe: stopped\n'


def test_the_traceback_is_shown_to_who_asks(monkeypatch):
  monkeypatch.setattr(list_command, 'run', lambda _: {}['x'])
  monkeypatch.setenv('SOFTMOE_TRACEBACK', '1')
  with pytest.raises(KeyError):
    main.main(['list'])


def test_a_closed_pipe_is_no_error():
  command = [sys.executable, '-m', 'pax_softmoe.tools', 'list']
  with subprocess.Popen(
      command, stdout=subprocess.PIPE, stderr=subprocess.PIPE
  ) as listing:
    listing.stdout.close()
    assert listing.stderr.read() == b''
  # The library of tables has a code of its own.
  assert listing.returncode in (1, 128 + signal.SIGPIPE)


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['describe', 'SoftMoEX'], "there is no experiment 'SoftMoEX'"),
        (['evaluate', '/nonexistent'], 'holds no job'),
        (['train', 'SoftMoEX', '--job_dir=JOB'], "no experiment 'SoftMoEX'"),
        (['train', 'X', '--set', 'A'], 'expected NAME=VALUE'),
        (['train', 'ViTS16', '--job_dir=/proc/x'], 'cannot write to the job'),
    ],
)
def test_bad_usage_is_one_line_and_code_2(arguments, message, capsys, tmp_path):
  arguments = [a.replace('JOB', str(tmp_path)) for a in arguments]
  assert main.main(arguments) == 2
  error = capsys.readouterr().err.strip()
  assert message in error.splitlines()[-1]


def test_unknown_setting_fails_with_the_known_ones(capsys):
  assert main.main(['describe', 'SoftMoEH14', '--set', 'EXPERTS=4']) == 1
  error = capsys.readouterr().err
  assert 'there is no setting EXPERTS; the settings are' in error
  assert 'NUM_EXPERTS' in error
