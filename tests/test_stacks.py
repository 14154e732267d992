"""Jobs that begin with one set of libraries and go on with another."""

import json
import pathlib
import shutil
import subprocess
import sys

import array_digests
import pax_jobs
import pytest

ROOT = pathlib.Path(__file__).parents[1]
# Where the Makefile puts the sets that it knows.
OTHERS = [
    folder
    for folder in ('.venv', '.venv-new', '.venv-head', '.venv-pins')
    if (ROOT / folder / '.installed').exists()
    and (ROOT / folder).resolve() != pathlib.Path(sys.prefix).resolve()
]
# TensorFlow 2.9 and later ones do not read each other's places in the data.
PINS = '.venv-pins'
MAIN = '.venv'
SETTINGS = {
    **pax_jobs.TINY,
    'NUM_EXPERTS': 4,
    'SAVE_INTERVAL_STEPS': 4,
    'WARMUP_STEPS': 2,
    'COOLDOWN_STEPS': 2,
}


def train(job_dir, steps, python=sys.executable, check=True):
  settings = SETTINGS | {'NUM_TRAIN_STEPS': steps}
  flag = pax_jobs.as_config('SoftMoEFashionMnist', **settings)
  flags = [flag, f'--job_log_dir={job_dir}']
  return pax_jobs.run('paxml.main', *flags, check=check, python=python)


def digests(checkpoint, python=sys.executable):
  command = [python, array_digests.__file__, str(checkpoint)]
  text = subprocess.run(
      command, capture_output=True, text=True, check=True, cwd=ROOT
  ).stdout
  return json.loads(text.splitlines()[-1])


def _cases():
  """Yields each other set; those but the main one take long, all together."""
  for folder in OTHERS:
    yield pytest.param(
        folder, marks=[] if folder == MAIN else [pytest.mark.slow]
    )
  if not OTHERS:
    reason = 'no other set of libraries is here; make env-new'
    yield pytest.param('none', marks=pytest.mark.skip(reason=reason))


@pytest.mark.parametrize('folder', _cases())
def test_a_job_goes_on_with_other_libraries(folder, tmp_path):
  other = ROOT / folder / 'bin' / 'python'
  job_dir, there = tmp_path / 'here', tmp_path / 'there'
  train(job_dir, 4, other)
  checkpoint = job_dir / 'checkpoints' / 'checkpoint_00000004'
  found = digests(checkpoint)
  assert sum('opt_states' in name for name in found) > 50
  assert found == digests(checkpoint, other)

  if (folder == PINS) != (pathlib.Path(sys.prefix).name == PINS):
    done = train(job_dir, 8, check=False)
    assert done.returncode == 1
    assert 'cannot read the saved place in the data' in done.stderr
    return
  shutil.copytree(job_dir, there)
  train(job_dir, 8)
  train(there, 8, other)
  got, want = (
      pax_jobs.scalars(path / 'summaries' / 'train', 'Metrics/loss')
      for path in (job_dir, there)
  )
  assert len(set(want.values())) >= 7
  assert got == pytest.approx(want, rel=1e-5)
