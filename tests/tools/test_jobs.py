"""Jobs on disk, settings of a command line, and environments of children."""

import os
import pathlib
import subprocess
import sys

from pax_softmoe.tools import jobs
from pax_softmoe.tools import main
import pytest


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
