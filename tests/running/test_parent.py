"""A child ends with its parent."""

import pathlib
import subprocess
import sys
import time

CHILD = """
import sys, time
from pax_softmoe.running import parent
parent.watch()
print('ready', flush=True)
time.sleep(600)
"""


PARENT = """
import os, subprocess, sys, time
from pax_softmoe.running import parent
child = subprocess.Popen(
    [sys.executable, '-c', sys.argv[1]],
    env={**os.environ, **parent.variables()},
)
print(child.pid, flush=True)
time.sleep(600)
"""


def test_a_child_ends_when_its_parent_is_killed():
  with subprocess.Popen(
      [sys.executable, '-c', PARENT, CHILD], stdout=subprocess.PIPE, text=True
  ) as parent:
    lines = {parent.stdout.readline() for _ in range(2)}
    (pid,) = (int(line) for line in lines - {'ready\n'})
    assert pathlib.Path(f'/proc/{pid}').exists()
    parent.kill()
  ends = time.monotonic() + 20
  while pathlib.Path(f'/proc/{pid}').exists() and time.monotonic() < ends:
    time.sleep(0.1)
  assert not pathlib.Path(f'/proc/{pid}').exists()
