"""The command `softmoe tune`, with a compiler that only pretends."""

import json

import jax
from pax_softmoe import experiments
from pax_softmoe.experiments import stored
from pax_softmoe.tools import main
from pax_softmoe.tuning import child
from pax_softmoe.tuning import compiler
import pytest
from sweep_results import EXCHANGED
from sweep_results import KEYS
from sweep_results import results

SPACE = [
    '--presets=expert_parallel,fsdp_dense',
    '--remat=full',
    '--images_per_chip=16',
    '--workers=1',
]


@pytest.fixture(name='compiled')
def _compiled(monkeypatch, tmp_path):
  """What was asked to be compiled; all fits, 'fsdp_dense' computes faster."""
  asked = []

  def in_child(request, output, timeout):
    del output, timeout
    asked.append(request)
    is_fast = request['settings']['SHARDING'] == 'fsdp_dense'
    return {
        'status': 'ok',
        'target': request['target'],
        'hbm_gib': 10.0,
        'excess_gib': 0.0,
        'collectives': EXCHANGED,
        'compute_ms': 50.0 if is_fast else 60.0,
        'exchange_ms': 10.0,
        'exchange_by_kind': {'all-to-all': 10.0},
        'top': {'collectives': [], 'layers': [], 'lines': []},
    }

  monkeypatch.setattr(child, 'compile_step', in_child)
  monkeypatch.setattr(compiler, 'find_target', lambda: 'tpu')
  monkeypatch.setattr(compiler, '_libtpu_bytes', lambda target: 0)
  monkeypatch.setattr(stored, 'FOLDER', tmp_path / 'tuned')
  return asked


def tune(tmp_path, *arguments):
  cache = f'--cache={tmp_path / "cache"}'
  return main.main(['tune', 'SoftMoEFashionMnist', *SPACE, cache, *arguments])


def test_best_point_is_stored_and_taken_by_slice(compiled, tmp_path, capsys):
  flags = ['--slice=2xv4-8', '--write', '--set=SCAN_LAYERS=False', '--json']
  assert tune(tmp_path, *flags) == 0
  result = json.loads(capsys.readouterr().out)
  assert (result['slice'], result['chips']) == ('2xv4-8', 8)
  assert {r['slice'] for r in compiled} == {'v4-8'}
  assert {r['effort'] for r in compiled} == {'full'}
  best = result['points'][0]
  assert KEYS <= set(best)
  assert (best['preset'], best['effort']) == ('fsdp_dense', 'full')
  assert 'DCN_MESH_SHAPE=(2, 1, 1, 1)' in best['flag']

  taken = experiments.SoftMoEFashionMnist.with_settings(SLICE='2xv4-8')()
  assert taken.SHARDING == 'fsdp_dense'
  assert taken.REMAT == 'full'
  assert taken.SCAN_LAYERS is False
  assert taken.TRAIN_BATCH_SIZE == taken.EVAL_BATCH_SIZE == 16 * 8
  assert taken.mesh_shape() == (2, *best['mesh'][1:])
  kept = stored.entries('SoftMoEFashionMnist')['2xv4-8']
  assert kept['estimate']['step_ms'] == best['step_ms']
  assert kept['versions']['jax'] == jax.__version__


def test_table_shows_what_to_paste(compiled, tmp_path, capsys):
  assert compiled == []
  assert tune(tmp_path, '--slice=v4-8', '--write') == 0
  text = capsys.readouterr().out
  for words in (
      'HBM GiB of 30.75',
      'images/s/chip',
      'verdict',
      'dcn_bytes_per_second',
      "SHARDING='fsdp_dense'",
      "as_config(SLICE='v4-8')",
      'Nothing here was measured',
  ):
    assert words in text


def test_nothing_is_stored_if_nothing_was_compiled_in_full(
    compiled, tmp_path, capsys
):
  assert tune(tmp_path, '--slice=v4-8', '--write', '--finalists=0') == 1
  assert len(compiled) == len({json.dumps(r, default=str) for r in compiled})
  assert 'no point was compiled with full effort' in capsys.readouterr().err
  assert not stored.entries('SoftMoEFashionMnist')


def test_write_without_libtpu_is_refused(compiled, monkeypatch, capsys):
  monkeypatch.setattr(compiler, 'find_target', lambda: 'cpu')
  arguments = ['tune', 'SoftMoES16', '--slice=v4-8', '--write']
  assert main.main(arguments) == 2
  assert 'needs estimates of the compiler' in capsys.readouterr().err
  assert compiled == []


def test_command_compares_files(tmp_path, capsys):
  for name in 'ab':
    (tmp_path / name).write_text(json.dumps(results().as_json()))
  arguments = ['--compare', str(tmp_path / 'a'), str(tmp_path / 'b')]
  assert main.main(['tune', *arguments, '--json']) == 0
  assert len(json.loads(capsys.readouterr().out)) == 3


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['SoftMoEH14'], 'needs an experiment and --slice'),
        (['X', '--slice=v4-8', '--explain=1'], 'there is no sweep of X'),
        (['X', '--slice=v4-8'], "there is no experiment 'X'"),
        (['--compare', 'no', 'no'], 'is no result of tune'),
        (
            ['SoftMoEH14', '--slice=v4-128', '--global_batch=100'],
            'cannot be split over 64 chips',
        ),
        (
            ['SoftMoEH14', '--slice=2xv4-128', '--global_batch=64'],
            'cannot be split over 128 chips',
        ),
        (
            ['X', '--slice=v4-8', '--write', '--set=NUM_EXPERTS=4'],
            'register an experiment that has this NUM_EXPERTS',
        ),
        (['SoftMoEH14', '--slice=v4-8', '--set=SLICE=v4-8'], 'leave SLICE'),
        (['X', '--check'], "there is no experiment 'X'"),
        (['SoftMoEH14', '--check', '--slice=v4-8'], 'has its own slice'),
    ],
)
def test_bad_usage_is_one_line_and_code_2(arguments, message, tmp_path, capsys):
  assert main.main(['tune', *arguments, f'--cache={tmp_path}']) == 2
  assert message in capsys.readouterr().err.strip().splitlines()[-1]
