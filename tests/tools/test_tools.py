"""The `softmoe` command, as far as it needs no Pax job."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import jax
import pax_jobs
from pax_softmoe.model_size import catalogue
from pax_softmoe.tools import jobs
from pax_softmoe.tools import main
from pax_softmoe.training import pax_log
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


def test_list_names_every_experiment(capsys):
  assert main.main(['list', '--json']) == 0
  rows = json.loads(capsys.readouterr().out)
  names = [row['experiment'] for row in rows]
  assert {'SoftMoEFashionMnist', 'SoftMoEH14'} <= set(names)
  assert main.main(['list']) == 0
  assert '27,318,132,649' in capsys.readouterr().out


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


def test_settings_are_literals_or_words():
  got = jobs.parse_settings(['A=4', 'B=(1, 2)', 'C=full', 'D=None', 'E=1e-3'])
  assert got == {'A': 4, 'B': (1, 2), 'C': 'full', 'D': None, 'E': 1e-3}


def test_a_job_of_another_experiment_is_not_overwritten(tmp_path):
  jobs.record(tmp_path, 'ViTS16', {})
  with pytest.raises(main.UsageError, match='holds a job of ViTS16'):
    jobs.record(tmp_path, 'SoftMoES16', {})
  assert jobs.recorded(tmp_path) == ('ViTS16', {})


def test_what_the_user_set_in_the_environment_stays(monkeypatch):
  monkeypatch.setenv('MALLOC_ARENA_MAX', '7')
  monkeypatch.delenv('MALLOC_MMAP_MAX_', raising=False)
  environment = jobs.child_environment()
  assert environment['MALLOC_ARENA_MAX'] == '7'
  assert environment['MALLOC_MMAP_MAX_'] == '0'
  assert environment['PATH'] == os.environ['PATH']


def test_names_read_from_the_source_are_those_that_pax_knows():
  from paxml import experiment_registry

  jobs.find_experiment('SoftMoEH14')
  keys = experiment_registry.get_all()
  prefix = jobs.EXPERIMENTS + '.'
  names = [k.removeprefix(prefix) for k in keys if k.startswith(prefix)]
  assert jobs.registered() == names


LOG = """
I1123 08:13:02.081937 1 train.py:189]   train.num_train_steps : 20
I1123 08:13:26.477014 1 summary_utils.py:901] [PAX STATUS] step_i: 10, training loss: 2.29
I1123 08:13:26.477224 1 summary_utils.py:905] weighted_scalars: {'accuracy': (array(0.25, dtype=float32), array(64., dtype=float32)), 'loss': (array(2.29, dtype=float32), array(64., dtype=float32))}
I1123 08:13:27.000000 1 programs.py:512] steps/sec: 4.500000
I1123 08:13:31.274395 1 programs.py:878] step: 10, eval test test loss: 2.2945318
I1123 08:13:31.274732 1 programs.py:885]   accuracy=0.260000 (weight=2000.000000)
"""


def test_progress_is_read_from_the_log_of_pax():
  progress = pax_log.Progress()
  for line in LOG.splitlines():
    progress.read(line)
  assert progress == pax_log.Progress(
      total_steps=20,
      step=10,
      loss=2.29,
      accuracy=0.25,
      batch_size=64,
      steps_per_second=4.5,
      eval_step=10,
      evaluation={'loss': 2.2945318, 'accuracy': 0.26},
      eval_examples=2000,
      phase='',
  )


def test_what_a_job_says_of_itself_is_read():
  progress = pax_log.Progress()
  assert progress.phase == 'loading PaxML and TensorFlow'
  progress.read('softmoe: began: /tmp/job\n')
  assert progress.has_begun
  progress.read('softmoe: phase: restoring step 40\n')
  assert progress.phase == 'restoring step 40'
  progress.read('softmoe: ended: stopped by SIGINT at step 44; all is saved\n')
  assert progress.error == 'stopped by SIGINT at step 44; all is saved'


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
    'communication_ms': 20.0,
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


def test_what_is_compiled_is_kept_where_the_user_says(monkeypatch, tmp_path):
  monkeypatch.delenv('JAX_COMPILATION_CACHE_DIR', raising=False)
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  folder = jobs.child_environment()['JAX_COMPILATION_CACHE_DIR']
  assert pathlib.Path(folder).is_relative_to(tmp_path)
  monkeypatch.setenv('JAX_COMPILATION_CACHE_DIR', '/elsewhere')
  environment = jobs.child_environment()
  assert environment['JAX_COMPILATION_CACHE_DIR'] == '/elsewhere'


def test_what_was_compiled_is_not_compiled_again(monkeypatch, tmp_path):
  monkeypatch.delenv('JAX_COMPILATION_CACHE_DIR', raising=False)
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  monkeypatch.setenv('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0')
  code = """
import jax
from jax import monitoring
events = []
monitoring.register_event_listener(lambda event, **_: events.append(event))
jax.jit(lambda x: x @ x)(jax.numpy.ones([8, 8]))
print(events.count('/jax/compilation_cache/cache_hits'))
"""

  def hits():
    done = subprocess.run(
        [sys.executable, '-c', code],
        env={**jobs.child_environment(), 'JAX_PLATFORMS': 'cpu'},
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)

  assert hits() == 0
  assert hits() > 0
  monkeypatch.setenv('JAX_ENABLE_COMPILATION_CACHE', 'false')
  assert hits() == 0


def test_list_loads_neither_jax_nor_tensorflow():
  code = (
      'import sys; from pax_softmoe.tools import main; main.main(["list"]);'
      ' sys.exit(", ".join({"jax", "tensorflow"} & set(sys.modules)) or 0)'
  )
  done = subprocess.run([sys.executable, '-c', code], capture_output=True)
  assert done.returncode == 0, done.stderr
  assert b'27,318,132,649' in done.stdout
  assert not done.stderr


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


@pytest.mark.parametrize(
    'variables',
    [
        {'XLA_FLAGS': '--xla_force_host_platform_device_count=8'},
        {'JAX_NUM_CPU_DEVICES': '8'},
        {'JAX_PLATFORMS': 'tpu,cpu'},
        {'JAX_PLATFORMS': '', 'TPU_NAME': 'local'},
    ],
)
def test_describe_computes_where_devices_may_be_several(variables, monkeypatch):
  monkeypatch.setenv('JAX_PLATFORMS', 'cpu')
  assert catalogue.read('SoftMoEH14')
  for name, value in variables.items():
    monkeypatch.setenv(name, value)
  assert catalogue.read('SoftMoEH14') is None


def test_describe_computes_what_has_changed_since(monkeypatch, tmp_path):
  monkeypatch.setenv('JAX_PLATFORMS', 'cpu')
  real = catalogue.folder()
  folder = tmp_path / 'experiments' / 'catalogue'
  shutil.copytree(real.parent, folder.parent)
  monkeypatch.setattr(catalogue, 'folder', lambda: folder)
  assert catalogue.read('SoftMoEH14') and catalogue.read('SoftMoEH14', 'v4-128')
  assert catalogue.read('SoftMoEH14', 'v4-8') is None
  # A sweep finds others.
  tuned = folder.with_name('tuned') / 'SoftMoEH14.json'
  entries = json.loads(tuned.read_text())
  entries['v4-128']['settings']['TRAIN_BATCH_SIZE'] = 64
  tuned.write_text(json.dumps(entries))
  assert catalogue.read('SoftMoEH14', 'v4-128') is None
  assert catalogue.read('SoftMoEH14') and catalogue.read('SoftMoEH14', 'v4-64')
  # Somebody edits a recipe.
  with (folder.parent / 'recipes.py').open('a') as source:
    source.write('# Changed.\n')
  assert catalogue.read('SoftMoEH14') is None


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
