"""Every command of the README does what the README says."""

import json
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import pax_jobs
import pytest

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / 'README.md').read_text()
COMMANDS = [
    line
    for block in re.findall(r'```bash\n(.*?)```', README, re.DOTALL)
    for line in block.strip().splitlines()
]


def arguments(command, tmp_path):
  """Returns the words of a command, with its folder below `tmp_path`."""
  words = shlex.split(command.replace('/tmp/', f'{tmp_path}/'))
  return words[2:] if words[:2] == ['python', '-m'] else words


def runs_until_step_50(command, tmp_path):
  words = arguments(command, tmp_path)
  if words[0] == 'paxml.main':
    pax_jobs.run_until(words[1:], step=50, log=tmp_path / 'log')
    return
  folder = next(w for w in words if w.startswith('--job_dir='))
  log = pathlib.Path(folder.removeprefix('--job_dir=')) / 'pax.log'
  log.parent.mkdir()
  log.touch()
  command = [sys.executable, '-m', 'pax_softmoe.tools', *words[1:]]
  child = subprocess.Popen(command, env=pax_jobs.environment())
  try:
    pax_jobs.wait_for_step(child, log, step=50)
  finally:
    child.terminate()
    child.wait()


def runs(command, tmp_path):
  words = arguments(command, tmp_path)
  if words[0] == 'softmoe':
    words[0] = 'pax_softmoe.tools'
  pax_jobs.run(*words)


def asks_for_data(command, tmp_path):
  words = arguments(command.replace('gs://bucket', '/tmp'), tmp_path)
  done = pax_jobs.run(*words, check=False)
  assert done.returncode
  assert 'set its source, in experiments by DATA_DIR' in done.stderr


def is_tested_in_a_clone(command, tmp_path):
  del tmp_path
  assert command in ('make train', '. .venv/bin/activate')


EXPECTED = {
    'make train': is_tested_in_a_clone,
    '. .venv/bin/activate': is_tested_in_a_clone,
    'python -m paxml.main --exp=pax_softmoe.experiments.SoftMoEFashionMnist': (
        runs_until_step_50
    ),
    'softmoe train SoftMoEFashionMnist': runs_until_step_50,
    'python -m paxml.main --fdl=': runs,
    'softmoe describe SoftMoEH14': runs,
    'softmoe launch SoftMoEH14': runs,
    'python -m paxml.main --exp=pax_softmoe.experiments.SoftMoEH14': (
        asks_for_data
    ),
}


@pytest.mark.parametrize('command', COMMANDS)
def test_command(command, tmp_path):
  expected = [
      run for start, run in EXPECTED.items() if command.startswith(start)
  ]
  assert expected, 'say in EXPECTED what this command does'
  expected[0](command, tmp_path)


def test_python_example():
  (block,) = re.findall(r'```python\n(.*?)```', README, re.DOTALL)
  names = {}
  exec(block, names)  # pylint: disable=exec-used
  assert names['outputs'].shape == (4, 49, 64)


def test_every_subcommand_is_in_the_readme():
  from pax_softmoe.tools import main

  for name in main.COMMANDS:
    assert f'`softmoe {name}' in README, name


@pytest.mark.slow
def test_make_train_in_a_fresh_clone(tmp_path):
  clone = tmp_path / 'clone'
  subprocess.run(['git', 'clone', '-q', ROOT, clone], check=True)
  done = subprocess.run(
      ['make', 'train'], cwd=clone, capture_output=True, text=True
  )
  assert done.returncode == 0, done.stderr[-3000:]
  accuracy = re.search(r'Accuracy ([\d.]+)% on 2000', done.stdout)
  assert float(accuracy[1]) >= 85
  result = clone / 'runs' / 'SoftMoEFashionMnist'
  for name in ('checkpoints', 'summaries', 'routing.png', 'pax.log'):
    assert (result / name).exists(), name
  evaluated = subprocess.run(
      [clone / '.venv/bin/softmoe', 'evaluate', result, '--json'],
      capture_output=True,
      text=True,
      check=True,
  )
  evaluated = json.loads(evaluated.stdout)
  assert f'{evaluated["accuracy"]:.2%}' == f'{float(accuracy[1]):.2f}%'
  shutil.rmtree(clone)
