"""Real train steps compiled in a child process, and what can go wrong."""

import sys

from pax_softmoe.tpu import libtpu
from pax_softmoe.tuning import compile_step
import pytest
from sweep_results import REQUEST

# Two layers with experts: two exchanges each way, and two done again.
ALL_TO_ALLS = 2 * 6
# 16 images, 16 slots, 128 dims, float32.
ALL_TO_ALL_GB = ALL_TO_ALLS * 16 * 16 * 128 * 4 / 1e9


def test_without_libtpu_the_cpu_tells_what_is_exchanged(tmp_path):
  got = compile_step.in_child(REQUEST, tmp_path / 'result.json', 300)
  assert got['status'] == 'ok', got
  exchanged = got['collectives']['all-to-all']
  assert exchanged['count'] == ALL_TO_ALLS
  assert exchanged['gb'] == pytest.approx(ALL_TO_ALL_GB)
  assert got['communication_ms'] > 0
  assert 'hbm_gib' not in got and 'compute_ms' not in got


@pytest.mark.libtpu
def test_step_for_four_tpus(tmp_path):
  try:
    libtpu.path()
  except RuntimeError as error:
    pytest.skip(str(error))
  request = REQUEST | {'target': 'tpu'}
  got = compile_step.in_child(request, tmp_path / 'result.json', 300)
  assert got['status'] == 'ok', got
  assert got['collectives']['all-to-all'] == {
      'count': ALL_TO_ALLS,
      'gb': pytest.approx(ALL_TO_ALL_GB),
  }
  assert 0 < got['argument_gib'] < got['hbm_gib'] < 1
  assert got['compute_ms'] > 0 and got['matmul_flops'] > 0
  assert any('attention' in row['layer'] for row in got['top']['layers'])


def test_child_that_takes_too_long_is_ended(tmp_path):
  got = compile_step.in_child(REQUEST, tmp_path / 'result.json', 0.2)
  assert got['status'] == 'timed out'
  assert got['seconds'] < 10


def test_child_that_crashes_is_a_result(tmp_path, monkeypatch):
  crash = tmp_path / 'python'
  crash.write_text('#!/bin/sh\necho what happened >&2\nkill -11 $$\n')
  crash.chmod(0o755)
  monkeypatch.setattr(sys, 'executable', str(crash))
  got = compile_step.in_child(REQUEST, tmp_path / 'result.json', 10)
  assert got['status'] == 'failed'
  assert got['error'] == 'signal 11: what happened'


@pytest.mark.parametrize(
    'source, want',
    [
        ('/a/b/pax_softmoe/layers/vit.py:3', 'pax_softmoe/layers/vit.py:3'),
        ('/a/lib/site-packages/praxis/x.py:3', 'praxis/x.py:3'),
        ('', ''),
    ],
)
def test_source_lines_have_no_folders_of_this_machine(source, want):
  assert compile_step._short(source) == want
