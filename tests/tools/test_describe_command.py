"""What `softmoe describe` shows, and what it refuses."""

import json
import os
import subprocess
import sys

import jax
from pax_softmoe.tools import main
import pytest


def test_describe_flagship_as_json(capsys):
  assert main.main(['describe', 'SoftMoEH14', '--json']) == 0
  facts = json.loads(capsys.readouterr().out)
  # Official code, and table 8 of the paper: 27.3 B, 284.6 GFLOP.
  assert facts['parameters'] == 27_318_132_649
  assert facts['parameters_without_head'] == 27_280_224_016
  assert facts['gflop_per_image'] == pytest.approx(284.6, rel=0.01)
  assert facts['tokens'] == 256
  assert facts['moe_layers'] == 16
  assert facts['num_experts'] == 128
  assert facts['slots_per_expert'] == 1
  assert facts['mesh'] == [1, 1, 1, 1]


def test_describe_takes_settings(capsys):
  arguments = ['describe', 'SoftMoEH14', '--set', 'NUM_EXPERTS=256', '--json']
  assert main.main(arguments) == 0
  facts = json.loads(capsys.readouterr().out)
  assert facts['parameters'] == 54_177_406_889
  assert facts['gflop_per_image'] == pytest.approx(342.4, rel=0.01)


def test_describe_shows_where_every_array_lives(capsys):
  override = "--set=SHARDING_OVERRIDES={'dense_weights.d': 'data'}"
  arguments = ['describe', 'SoftMoES16', '--set=SHARDING=replicated', override]
  assert main.main([*arguments, '--json']) == 0
  facts = json.loads(capsys.readouterr().out)
  assert facts['sharding'] == 'replicated'
  assert facts['sharding_overrides'] == {'dense_weights.d': 'data'}
  for kind, name, split in (
      ('weights', 'head/kernel', ['data', None]),
      ('activations', 'moe/slots', [None, ['replica', 'data', 'expert']]),
  ):
    array = next(a for a in facts[kind] if a['name'] == name)
    assert array['split'][:2] == split
    assert array['bytes_per_device'] > 0
  assert main.main(arguments) == 0
  text = capsys.readouterr().out
  for word in ('replicated', 'dense_weights.d', 'head/kernel', 'moe/slots'):
    assert word in text


ESTIMATE = {
    'mesh': [1, 1, 64, 1],
    'hbm_gib': 14.25,
    'collectives': {'all-to-all': {'count': 64, 'gb': 0.5}},
    'compute_ms': 200.0,
    'exchange_ms': 25.0,
    'exposed_ms': 20.0,
    'step_ms': 220.0,
    'images_per_second_per_chip': 72.7,
    'mfu': 0.27,
}


def test_describe_shows_what_is_stored_for_a_slice(
    tmp_path, monkeypatch, capsys
):
  from pax_softmoe.experiments import stored

  monkeypatch.setattr(stored, 'FOLDER', tmp_path)
  entry = {
      'settings': {'ICI_MESH_SHAPE': [1, 2, 32, 1], 'SHARDING': 'fsdp_dense'},
      'estimate': ESTIMATE,
      'environment': {'LIBTPU_INIT_ARGS': '--flag=1'},
      'versions': {'jax': '0.5.3'},
  }
  stored.write('SoftMoES16', 'v4-128', entry)
  arguments = ['describe', 'SoftMoES16', '--slice=v4-128']
  assert main.main([*arguments, '--json']) == 0
  facts = json.loads(capsys.readouterr().out)
  assert facts['mesh'] == [1, 2, 32, 1]
  assert facts['sharding'] == 'fsdp_dense'
  assert facts['stored'] == entry
  assert main.main(arguments) == 0
  text = capsys.readouterr().out
  for words in ('14.25 of 30.75 GiB', 'not measured', '27.0%', '--flag=1'):
    assert words in text
  assert main.main([*arguments[:2], '--slice=v4-8']) == 1
  assert 'no settings are stored for v4-8' in capsys.readouterr().err


QUICK = """
import sys
from pax_softmoe.tools import main
code = main.main(sys.argv[1:])
slow = {'jax', 'tensorflow', 'paxml', 'praxis', 'pydantic', 'numpy'}
assert not slow & set(sys.modules), slow & set(sys.modules)
sys.exit(code)
"""


@pytest.mark.parametrize(
    'arguments', [[], ['--json'], ['--slice=v4-128', '--json']]
)
def test_describe_imports_nothing_slow_unless_it_must(arguments):
  done = subprocess.run(
      [sys.executable, '-c', QUICK, 'describe', 'SoftMoEH14', *arguments],
      capture_output=True,
      text=True,
      env={**os.environ, 'JAX_PLATFORMS': 'cpu'},
      timeout=60,
  )
  assert (done.returncode, done.stderr) == (0, '')
  assert '27318132649' in done.stdout.replace(',', '')


def test_describe_shows_settings_with_what_set_them(capsys):
  arguments = ['describe', 'SoftMoEH14', '--set=NUM_EXPERTS=256']
  assert main.main([*arguments, '--json']) == 0
  captured = capsys.readouterr()
  assert 'loading PaxML and TensorFlow' in captured.err
  facts = json.loads(captured.out)
  found = facts['settings']
  for name, value, default, set_by in (
      ('NUM_EXPERTS', 256, 128, '--set'),
      ('MODEL_DIMS', 1280, 0, 'sizes.H'),
      ('PATCH_SIZE', 14, 16, 'SoftMoEH14'),
      ('EVAL_SPLITS', ['validation'], ['test'], 'recipes.Jft'),
      ('COMPUTE_DTYPE', 'bfloat16', 'bfloat16', None),
      ('SLOTS_PER_EXPERT', 1, 1, None),
  ):
    row = found[name]
    got = row['value'], row['default'], row['set_by']
    assert got == (value, default, set_by), name
  assert found['SEED']['takes'] == 'a whole number of 0 or more'
  assert found['NUM_EXPERTS']['kept'] and not found['SEED']['kept']
  assert 'published' not in facts
  assert main.main(arguments) == 0
  lines = capsys.readouterr().out.splitlines()
  (line,) = [l for l in lines if l.split()[:1] == ['NUM_EXPERTS']]
  assert line.split()[1:4] == ['256', '128', '--set']
  assert 'Transformer' in [line.strip() for line in lines]


def test_describe_shows_what_a_slice_sets(capsys):
  arguments = ['describe', 'SoftMoEH14E256', '--slice=v4-64', '--json']
  assert main.main([*arguments, '--set=REMAT=none']) == 0
  found = json.loads(capsys.readouterr().out)['settings']
  assert found['ICI_MESH_SHAPE']['set_by'] == 'SLICE=v4-64'
  assert found['SLICE']['set_by'] == found['REMAT']['set_by'] == '--set'


def test_describe_labels_what_is_published(capsys):
  assert main.main(['describe', 'SoftMoEH14']) == 0
  text = ' '.join(capsys.readouterr().out.split())
  for words in (
      'table 8 of the paper; 2,225 days of one TPU v3 core',
      (
          'JFT-4B precision at 1 61.7 ImageNet 10-shot 84.2 ImageNet fine-tuned'
          ' 89.1'
      ),
  ):
    assert words in text
  assert main.main(['describe', 'SoftMoES16ImageNet', '--json']) == 0
  published = json.loads(capsys.readouterr().out)['published']
  assert published['results'] == {'ImageNet fine-tuned': 86.8}
  # Its base has some, of another model.
  assert main.main(['describe', 'SoftMoEL16ImageNet', '--json']) == 0
  assert 'published' not in json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    'name, change, message',
    [
        (
            'SoftMoEFashionMnist',
            'ICI_MESH_SHAPE=(1,2,-4,1)',
            'ICI_MESH_SHAPE is (1, 2, -4, 1) (tuple); it takes a size of 1 or',
        ),
        (
            'SoftMoEFashionMnist',
            'ICI_MESH_SHAPE=(1,1,3,1)',
            '16 experts (NUM_EXPERTS) cannot be split over 3 devices',
        ),
        ('SoftMoEFashionMnist', "NUM_EXPERTS='4'", "NUM_EXPERTS is '4' (str)"),
        ('SoftMoEFashionMnist', 'SEED={[]: 1}', "SEED is '{[]: 1}' (str); it"),
        ('SoftMoEFashionMnist', 'task=4', 'there is no setting task; the'),
        ('SoftMoEFashionMnist', 'SLICE=1', 'SLICE is 1 (int); it takes a text'),
        (
            'SoftMoEFashionMnist',
            'NUM_TRAIN_STEPS=10',
            'do not fit into 10 steps; lower WARMUP_STEPS',
        ),
    ],
)
def test_describe_refuses_settings(name, change, message, capsys):
  assert main.main(['describe', name, '--set', change]) == 1
  error = capsys.readouterr().err.splitlines()[-1]
  assert error.startswith(f'softmoe: {name}: ')
  assert message in error


def test_describe_refuses_a_batch_that_devices_cannot_share(
    capsys, monkeypatch
):
  monkeypatch.setattr(jax, 'device_count', lambda: 8)
  arguments = ['describe', 'SoftMoEFashionMnist', '--json', '--set']
  assert main.main([*arguments, 'TRAIN_BATCH_SIZE=63']) == 1
  error = capsys.readouterr().err
  assert '63 images (TRAIN_BATCH_SIZE) cannot be split over 8 devices' in error
  # A mesh of other machines than this can be described.
  assert main.main([*arguments, 'ICI_MESH_SHAPE=(1,2,2,1)']) == 0
  assert json.loads(capsys.readouterr().out)['mesh'] == [1, 2, 2, 1]
