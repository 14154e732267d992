"""Pax is importable whoever imports it first."""

import os
import pathlib
import subprocess
import sys
import sysconfig

from pax_softmoe import startup
import pytest

ROOT = pathlib.Path(__file__).parents[1]


def run(code, **variables):
  """Returns what a fresh Python prints in another folder."""
  done = subprocess.run(
      [sys.executable, '-c', code],
      cwd='/',
      env={**os.environ, 'TF_CPP_MIN_LOG_LEVEL': '3', **variables},
      capture_output=True,
      text=True,
  )
  assert done.returncode == 0, done.stderr
  return done.stdout.strip()


def test_the_file_that_python_runs_is_installed():
  installed = pathlib.Path(sysconfig.get_path('purelib'), 'pax_softmoe.pth')
  assert installed.read_text() == (ROOT / 'pax_softmoe.pth').read_text()


WATCHING = """
import sys
print(any(getattr(f, '__name__', '') == 'Watch' for f in sys.meta_path))
"""


@pytest.mark.parametrize(
    'value, watching', [('', 'True'), ('1', 'True'), ('0', 'False')]
)
def test_python_watches_from_its_start_unless_told_not_to(value, watching):
  assert run(WATCHING, PAX_SOFTMOE_STARTUP=value) == watching


def test_python_starts_with_nothing_heavy():
  code = "import sys; print({'jax', 'numpy', 'paxml'} & set(sys.modules))"
  assert run(code) == 'set()'


@pytest.mark.parametrize('first', ['praxis', 'paxml'])
def test_names_are_there_before_pax_is(first):
  code = f"""
import importlib, sys
import {first}
compat = sys.modules['pax_softmoe.compat']
print([n.name for n in compat.NAMES
       if not hasattr(importlib.import_module(n.module), n.name)])
print(any(getattr(f, '__name__', '') == 'Watch' for f in sys.meta_path))
"""
  assert run(code).splitlines() == ['[]', 'False']


def test_other_imports_are_none_of_its_business():
  assert startup.Watch.find_spec('json') is None


def test_after_pax_there_is_nothing_to_wait_for(monkeypatch):
  monkeypatch.setattr(startup.sys, 'meta_path', [])
  monkeypatch.setitem(sys.modules, 'praxis', None)
  startup.install()
  assert not startup.sys.meta_path
