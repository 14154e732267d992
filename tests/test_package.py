"""The package as it is published: what is in it, and that it runs on its own."""

import json
import os
import pathlib
import shutil
import site
import subprocess
import sys
import tarfile
import zipfile

import pax_jobs
import pytest

ROOT = pathlib.Path(__file__).parents[1]
LEFTOVERS = shutil.ignore_patterns(
    '.*', 'bazel-*', 'build', 'dist', 'runs', '*.egg-info', '__pycache__'
)


def build(kind: str, source: pathlib.Path, output: pathlib.Path):
  """Builds a 'wheel' or 'sdist' without a network; returns the file."""
  code = (
      'import sys; from setuptools import build_meta as backend;'
      f'backend.build_{kind}(sys.argv[1])'
  )
  done = subprocess.run(
      [sys.executable, '-c', code, output],
      cwd=source,
      capture_output=True,
      text=True,
  )
  assert done.returncode == 0, done.stderr[-3000:]
  (built,) = output.iterdir()
  return built


def contents(wheel: pathlib.Path) -> dict[str, bytes]:
  """Returns the files of a wheel by name, without its metadata."""
  with zipfile.ZipFile(wheel) as archive:
    return {
        name: archive.read(name)
        for name in archive.namelist()
        if '.dist-info/' not in name
    }


@pytest.fixture(name='folder', scope='module')
def _folder(tmp_path_factory) -> pathlib.Path:
  """A folder with a copy of the checkout in `source`: building leaves files."""
  folder = tmp_path_factory.mktemp('package')
  shutil.copytree(ROOT, folder / 'source', symlinks=True, ignore=LEFTOVERS)
  return folder


@pytest.fixture(name='wheel', scope='module')
def _wheel(folder) -> pathlib.Path:
  return build('wheel', folder / 'source', folder / 'wheel')


@pytest.fixture(name='sdist', scope='module')
def _sdist(folder) -> pathlib.Path:
  return build('sdist', folder / 'source', folder / 'sdist')


@pytest.fixture(name='installed', scope='module')
def _installed(folder, wheel) -> pathlib.Path:
  """The `bin` of a new environment that holds the wheel.

  A .pth file lends it the packages of this one. An editable installation here
  works by a .pth file of its own, which Python does not follow from another.
  """
  environment = folder / 'environment'
  subprocess.run(
      [sys.executable, '-m', 'venv', '--without-pip', environment], check=True
  )
  python = environment / 'bin' / 'python'
  where = 'import site; print(site.getsitepackages()[0])'
  packages = subprocess.run(
      [python, '-c', where], check=True, capture_output=True, text=True
  ).stdout.strip()
  lent = pathlib.Path(packages) / 'lent.pth'
  lent.write_text('\n'.join(site.getsitepackages()) + '\n')
  install = ['install', '--quiet', '--no-index', '--no-deps']
  # This environment's own copy, seen through the .pth file, must not count.
  install += ['--ignore-installed', wheel]
  subprocess.run([python, '-m', 'pip', *install], check=True)
  return environment / 'bin'


def run(*command: object, cwd: pathlib.Path) -> str:
  """Runs a command that cannot see the checkout; returns its stdout."""
  environment = pax_jobs.environment()
  environment.pop('PYTHONPATH', None)
  done = subprocess.run(
      list(map(str, command)),
      cwd=cwd,
      env=environment,
      capture_output=True,
      text=True,
      timeout=pax_jobs.TIMEOUT_SECONDS,
  )
  assert done.returncode == 0, done.stderr[-3000:]
  return done.stdout


def test_the_wheel_holds_every_file_of_the_packages_and_no_other(folder, wheel):
  source = folder / 'source'
  files = {
      str(prefix / path.relative_to(source / top)): path.read_bytes()
      for top, prefix in (
          ('pax_softmoe', pathlib.Path('pax_softmoe')),
          ('experiments', pathlib.Path('pax_softmoe/experiments')),
          ('tools', pathlib.Path('pax_softmoe/tools')),
      )
      for path in (source / top).rglob('*')
      if path.is_file() and path.name != 'BUILD'
  }
  assert 'pax_softmoe/experiments/tuned/SoftMoEH14.json' in files
  # What Python reads as it starts.
  files['pax_softmoe.pth'] = (source / 'pax_softmoe.pth').read_bytes()
  packed = contents(wheel)
  assert sorted(packed) == sorted(files)
  assert packed == files


def test_the_sdist_builds_the_same_wheel(folder, wheel, sdist):
  with tarfile.open(sdist) as archive:
    archive.extractall(folder / 'unpacked')
  (source,) = (folder / 'unpacked').iterdir()
  again = build('wheel', source, folder / 'again')
  assert again.name == wheel.name
  assert contents(again) == contents(wheel)


def test_the_sdist_has_the_locks_and_no_tests(sdist):
  with tarfile.open(sdist) as archive:
    names = {name.partition('/')[2] for name in archive.getnames()}
  locks = {path.name for path in ROOT.glob('requirements*.lock')}
  assert {'README.md', 'LICENSE', 'requirements.lock', *locks} <= names
  assert not [name for name in names if name.startswith('tests')]


@pytest.mark.slow
def test_the_installed_command_lists_and_describes(installed, tmp_path):
  listed = json.loads(
      run(installed / 'softmoe', 'list', '--json', cwd=tmp_path)
  )
  assert 'SoftMoEH14' in {row['experiment'] for row in listed}
  words = installed / 'softmoe', 'describe', 'SoftMoEH14', '--json'
  described = json.loads(run(*words, cwd=tmp_path))
  # As published, with 29,593 classes.
  assert described['parameters'] == 27_318_132_649


def test_the_installed_modules_are_those_of_the_wheel(installed, tmp_path):
  code = (
      'import sys, pax_softmoe.experiments, pax_softmoe.tools.main;'
      'print(*(m.__file__ for n, m in sys.modules.items()'
      ' if n.startswith("pax_softmoe")), *sys.path, sep="\\n")'
  )
  lines = run(installed / 'python', '-c', code, cwd=tmp_path).splitlines()
  modules = [line for line in lines if line.endswith('.py')]
  assert len(modules) > 20
  home = f'{installed.parent}{os.sep}'
  assert [module for module in modules if not module.startswith(home)] == []
  assert str(ROOT) not in lines


@pytest.mark.slow
def test_the_installed_package_trains(installed, tmp_path):
  settings = {**pax_jobs.TINY, 'NUM_TRAIN_STEPS': 5, 'TRAIN_BATCH_SIZE': 8}
  settings |= {'NUM_EXPERTS': 4, 'WARMUP_STEPS': 1, 'COOLDOWN_STEPS': 1}
  config = pax_jobs.as_config('SoftMoEFashionMnist', **settings)
  job = tmp_path / 'job'
  flags = config, f'--job_log_dir={job}'
  run(installed / 'python', '-m', 'paxml.main', *flags, cwd=tmp_path)
  losses = pax_jobs.scalars(job / 'summaries' / 'train', 'loss')
  assert sorted(losses) == [1, 2, 3, 4, 5]
  assert (job / 'checkpoints' / 'checkpoint_00000005').exists()
