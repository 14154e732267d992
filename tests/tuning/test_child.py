"""What can go wrong in a process that compiles."""

import sys

from pax_softmoe.tuning import child
from sweep_results import REQUEST


def test_child_that_takes_too_long_is_ended(tmp_path):
  got = child.compile_step(REQUEST, tmp_path / 'result.json', 0.2)
  assert got['status'] == 'timed out'
  assert got['seconds'] < 10


def test_child_that_crashes_is_a_result(tmp_path, monkeypatch):
  crash = tmp_path / 'python'
  crash.write_text('#!/bin/sh\necho what happened >&2\nkill -11 $$\n')
  crash.chmod(0o755)
  monkeypatch.setattr(sys, 'executable', str(crash))
  got = child.compile_step(REQUEST, tmp_path / 'result.json', 10)
  assert got['status'] == 'failed'
  assert got['error'] == 'signal 11: what happened'
