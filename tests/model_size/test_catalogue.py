"""What is written of every experiment, and when it is computed anew."""

import json
import shutil

from pax_softmoe.model_size import catalogue
import pytest


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


def test_every_experiment_is_given_as_it_was_registered():
  names = [found['settings'] for found in catalogue.every()]
  assert len(names) >= 50
  first = next(iter(catalogue.every()))
  assert first['settings']['NUM_EXPERTS']['meaning'].startswith('Experts of')
