"""Libraries say nothing while they load, and errors are seen."""

import json
import subprocess
import sys

import pax_jobs


def test_libraries_are_quiet_and_errors_are_not():
  code = """
import os, sys
from pax_softmoe.tools import quiet
with quiet.startup():
  os.write(2, b'I0000 00:00:1.1 2 port.cc:153] oneDNN is on\\n')
  os.write(2, b'E0000 00:00:1.1 2 port.cc:153] no memory\\n')
  print('Registered experiment `X`', file=sys.stderr)
  print('W1123 a warning', file=sys.stderr)
  raise ValueError('of an import')
"""
  done = subprocess.run(
      [sys.executable, '-c', code], capture_output=True, text=True
  )
  assert 'no memory' in done.stderr
  assert 'a warning' in done.stderr
  assert 'ValueError: of an import' in done.stderr
  assert 'oneDNN' not in done.stderr
  assert 'Registered' not in done.stderr


def test_a_command_says_nothing_of_its_libraries():
  done = pax_jobs.softmoe('describe', 'SoftMoES16', '--json')
  assert json.loads(done.stdout)['tokens'] == 196
  assert done.stderr == ''
