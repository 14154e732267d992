"""What tests of several rooms share: compiled programs, and a tiny job."""

import functools
import os
import pathlib
import subprocess
import sys

import checkpoint_files
import hlo_programs
import jax
import numpy as np
from pax_softmoe.evaluation import inference
from pax_softmoe.hlo import module
from pax_softmoe.tools import jobs
from pax_softmoe.tpu import libtpu
import pytest


@pytest.fixture(scope='session')
def compiled(tmp_path_factory):
  """Returns the program of that name in `hlo_programs`, for eight CPUs."""
  folder = tmp_path_factory.mktemp('hlo')
  script = pathlib.Path(__file__).with_name('hlo_programs.py')
  # Only a new process can pretend to have eight devices.
  eight_cpus = {
      'JAX_PLATFORMS': 'cpu',
      'XLA_FLAGS': '--xla_force_host_platform_device_count=8',
  }
  subprocess.run(
      [sys.executable, script, folder], check=True, env=os.environ | eight_cpus
  )
  return lambda name: module.parse((folder / f'{name}.hlo').read_bytes(), 8)


@pytest.fixture(scope='session')
def eight_tpus():
  """Returns the chips of a v4-16, to compile for."""
  try:
    libtpu.path()
  except RuntimeError as e:
    pytest.skip(str(e))
  if jax.__version_info__ < (0, 5):
    pytest.skip(f'libtpu works with jax 0.5.3, this is {jax.__version__}')
  return libtpu.topology_devices('v4-16')


@pytest.fixture(scope='session')
def compiled_for_tpu(eight_tpus):
  """Compiles the program of that name in `hlo_programs` for eight TPUs."""
  mesh = hlo_programs.mesh_of(eight_tpus)
  programs = {name: rest for name, *rest in hlo_programs.programs(mesh)}

  @functools.cache
  def compile_program(name):
    function, arguments = programs[name]
    return jax.jit(function).lower(*arguments).compile()

  return compile_program


@pytest.fixture(name='tiny_job', scope='session')
def _tiny_job(tmp_path_factory):
  """Returns the folder of a tiny job that nobody may change."""
  folder = tmp_path_factory.mktemp('tiny_job')
  checkpoint_files.save_job(folder, checkpoint_files.experiment())
  settings = {**checkpoint_files.TINY, 'NUM_EXPERTS': 4}
  jobs.record(folder, checkpoint_files.NAME, settings)
  return folder


@pytest.fixture(name='pixels', scope='session')
def _pixels():
  """Returns three grey images [3, 28, 28, 1] uint8."""
  return np.random.RandomState(5).randint(0, 256, [3, 28, 28, 1], np.uint8)


@pytest.fixture(name='logits', scope='session')
def _logits(tiny_job, pixels):
  """Returns the logits of `pixels` by the job's model."""
  classifier = inference.TrainedClassifier(
      checkpoint_files.experiment(), tiny_job
  )
  return classifier.predictions(pixels / np.float32(127.5) - 1).logits
