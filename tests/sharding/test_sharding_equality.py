"""Sharding changes nothing but speed: one train step on many meshes.

A gradient is read off Adam's first moment, which starts at zero: after a step
it is a tenth of the clipped gradient. The second moment is its square.
"""

import functools
import json
import os
import pathlib
import subprocess
import sys

import pytest
import sharding_cases

# Relative error of each array in the 2-norm. Sums over devices are done in
# another order: in bfloat16, which has 8 bits, that shows.
TOLERANCE = {'float32': 1e-5, 'bfloat16': 0.055}
CHILDREN = 2
TIMEOUT_SECONDS = 3000


def run(folder: pathlib.Path, cases) -> dict:
  """Returns the results of `sharding_cases` by case."""
  # Cases of one router share the step on a single device.
  names = sorted(map(str, cases))
  middle = len(names) // CHILDREN
  environment = os.environ | {
      'JAX_PLATFORMS': 'cpu',
      'XLA_FLAGS': '--xla_force_host_platform_device_count=16',
  }
  children = {}
  for i, part in enumerate((names[:middle], names[middle:])):
    path = folder / f'{i}.json'
    children[path] = subprocess.Popen(
        [sys.executable, sharding_cases.__file__, path, *part],
        env=environment,
        stdout=subprocess.DEVNULL,
    )
  results = {}
  try:
    for path, child in children.items():
      assert child.wait(TIMEOUT_SECONDS) == 0
      results.update(json.loads(path.read_text()))
  finally:
    for child in children.values():
      child.kill()
  return results


@pytest.fixture(scope='session')
def steps(tmp_path_factory):
  """Returns a function from cases to results, which runs them once."""
  folder = tmp_path_factory.mktemp('sharding')
  return functools.cache(lambda cases: run(folder, cases))


def check(result, tolerance):
  # The relative error of a square, as Adam's second moment, is twice as large.
  errors = {
      name: error / (2 if '/v/' in name else 1)
      for name, (_, error) in result.items()
  }
  assert max(errors.values()) < tolerance, sorted(
      errors.items(), key=lambda item: -item[1]
  )[:5]
  # Nothing is equal because it is zero.
  assert min(norm for norm, _ in result.values()) > 0
  assert any('/m/params/vit' in name for name in result)


@pytest.mark.parametrize('case', sharding_cases.SELECTED, ids=str)
def test_step_equals_single_device(case, steps):
  dtype = 'bfloat16' if case.router == 'bfloat16' else 'float32'
  check(steps(sharding_cases.SELECTED)[str(case)], TOLERANCE[dtype])


@pytest.mark.slow
@pytest.mark.parametrize('case', sharding_cases.ALL, ids=str)
def test_every_preset_on_every_mesh_equals_single_device(case, steps):
  check(steps(sharding_cases.ALL)[str(case)], TOLERANCE['float32'])
