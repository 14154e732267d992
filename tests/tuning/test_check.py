"""Comparing what compiles with what was recorded."""

from pax_softmoe import experiments
from pax_softmoe.experiments import stored
from pax_softmoe.tools import main
from pax_softmoe.tpu import libtpu
from pax_softmoe.tuning import check
import pytest

WANT = {
    'collectives': {
        'all-to-all': {'count': 12, 'gb': 0.125},
        'all-reduce': {'count': 3, 'gb': 1.5},
    },
    'compute_ms': 100.0,
    'exposed_ms': 10.0,
}


@pytest.mark.parametrize('compute_ms', [97.5, 100.0, 102.9])
def test_cycles_may_differ_a_little(compute_ms):
  assert not check.differences(WANT, WANT | {'compute_ms': compute_ms})


def test_every_difference_is_named():
  got = {
      'collectives': {
          'all-to-all': {'count': 12, 'gb': 0.125 + 1e-8},
          'all-gather': {'count': 1, 'gb': 0.25},
      },
      'compute_ms': 104.0,
      'exposed_ms': 9.0,
  }
  assert check.differences(WANT, got) == [
      'all-gather: 0 of 0 GB were recorded, now 1 of 0.25 GB',
      'all-reduce: 3 of 1.5 GB were recorded, now 0 of 0 GB',
      'all-to-all: 12 of 0.125 GB were recorded, now 12 of 0.12500001 GB',
      'compute: 100.00 ms were recorded, now 104.00 (+4.0%)',
      'exposed: 10.00 ms were recorded, now 9.00 (-10.0%)',
  ]


def test_command_records_and_compares(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(stored, 'FOLDER', tmp_path)
  monkeypatch.setattr(check, 'compile_cut', lambda *unused: WANT)
  command = ['tune', 'SoftMoES16', '--check', f'--cache={tmp_path}']
  assert main.main(command) == 1
  assert 'nothing is recorded' in capsys.readouterr().err
  assert main.main([*command, '--write']) == 0
  assert main.main(command) == 0
  slower = WANT | {'compute_ms': 90.0}
  monkeypatch.setattr(check, 'compile_cut', lambda *unused: slower)
  assert main.main(command) == 1
  assert 'compute: 100.00 ms' in capsys.readouterr().out


@pytest.mark.libtpu
@pytest.mark.slow
def test_flagship_compiles_as_recorded(tmp_path):
  """Upon a change that is meant: softmoe tune SoftMoEH14 --check --write."""
  try:
    libtpu.path()
  except RuntimeError as error:
    pytest.skip(str(error))
  found = check.compile_cut(experiments.SoftMoEH14, tmp_path)
  assert not check.differences(check.recorded('SoftMoEH14'), found)
