"""What `softmoe list` shows."""

import json
import subprocess
import sys

from pax_softmoe.tools import main


def test_list_names_every_experiment(capsys):
  assert main.main(['list', '--json']) == 0
  rows = json.loads(capsys.readouterr().out)
  names = [row['experiment'] for row in rows]
  assert {'SoftMoEFashionMnist', 'SoftMoEH14'} <= set(names)
  assert main.main(['list']) == 0
  assert '27,318,132,649' in capsys.readouterr().out


def test_list_loads_neither_jax_nor_tensorflow():
  code = (
      'import sys; from pax_softmoe.tools import main; main.main(["list"]);'
      ' sys.exit(", ".join({"jax", "tensorflow"} & set(sys.modules)) or 0)'
  )
  done = subprocess.run([sys.executable, '-c', code], capture_output=True)
  assert done.returncode == 0, done.stderr
  assert b'27,318,132,649' in done.stdout
  assert not done.stderr
