"""Jobs on disk: which experiment they ran, and their child processes."""

import ast
from collections.abc import Sequence
import hashlib
import importlib
from importlib import metadata
import importlib.util
import json
import os
import pathlib
import platform
import re
from typing import Any

from etils import epath
import pax_softmoe
from pax_softmoe.tools import main
from pax_softmoe.tools import quiet

EXPERIMENTS = 'pax_softmoe.experiments'
LOG_NAME = 'pax.log'
RECORD_NAME = 'softmoe.json'

# glibc gives large blocks back to the system when they are freed, and Linux
# then zeroes each page of the next one: a quarter of a small job's CPU time.
_KEEP_MEMORY = {
    'MALLOC_MMAP_MAX_': '0',
    'MALLOC_TRIM_THRESHOLD_': str(16 * 2**30),
    'MALLOC_ARENA_MAX': '1',
}


def child_environment() -> dict[str, str]:
  """Returns the environment for a child that computes.

  What the user set stays as it is. On Linux without an accelerator setting,
  memory settings for the CPU are added. What JAX compiles is kept for the next
  time, unless JAX_ENABLE_COMPILATION_CACHE is false.
  """
  return {
      **_KEEP_MEMORY,
      'TPU_SKIP_MDS_QUERY': '1',
      'TF_CPP_MIN_LOG_LEVEL': '2',
      'JAX_COMPILATION_CACHE_DIR': str(_compiled()),
      **os.environ,
  }


def _compiled() -> pathlib.Path:
  """Returns the user's folder of programs that were compiled on such a CPU."""
  cache = os.environ.get('XDG_CACHE_HOME') or pathlib.Path.home() / '.cache'
  # A home may be shared by machines whose CPUs have other instructions.
  cpu = platform.machine()
  info = pathlib.Path('/proc/cpuinfo')
  if info.exists():
    flags = re.search('^(flags|Features).*', info.read_text(), re.MULTILINE)
    cpu += flags[0] if flags else ''
  digest = hashlib.sha256(cpu.encode()).hexdigest()[:12]
  return pathlib.Path(cache) / 'pax_softmoe' / 'compiled' / digest


def without_thunks(environment: dict[str, str]) -> dict[str, str]:
  """Returns an environment in which XLA compiles for the CPU as it used to.

  Its thunk runtime no longer gives products of many matrices to oneDNN. Only
  some versions have both, and of these, jax 0.5.3 fails on scanned layers: this
  is for programs without.
  """
  version = tuple(map(int, metadata.version('jaxlib').split('.')[:2]))
  flags = environment.get('XLA_FLAGS', '')
  if version not in ((0, 5), (0, 6)) or 'thunk_runtime' in flags:
    return environment
  flags = f'{flags} --xla_cpu_use_thunk_runtime=false'.strip()
  return {**environment, 'XLA_FLAGS': flags}


def parse_settings(pairs: Sequence[str]) -> dict[str, Any]:
  """Returns settings of command-line arguments NAME=VALUE.

  Args:
    pairs: values are Python literals; what is none is a string.

  Raises:
    UsageError: an argument has another form.
  """
  settings = {}
  for pair in pairs:
    name, separator, text = pair.partition('=')
    if not separator or not name.isidentifier():
      raise main.UsageError(
          f'--set {pair}: expected NAME=VALUE, such as NUM_EXPERTS=4'
      )
    try:
      settings[name] = ast.literal_eval(text)
    # The last three are of text such as '{[]: 1}' and of endless brackets.
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
      settings[name] = text
  return settings


def experiment_flag(name: str, settings: dict[str, Any]) -> str:
  """Returns the flag of paxml.main that runs an experiment with settings."""
  if not settings:
    return f'--exp={EXPERIMENTS}.{name}'
  arguments = ', '.join(f'{k}={v!r}' for k, v in settings.items())
  return f'--fdl=config:{EXPERIMENTS}.{name}.as_config({arguments})'


def make_folder(job_dir: pathlib.Path) -> None:
  """Makes the folder of a job; raises UsageError if nothing can be put there."""
  try:
    job_dir.mkdir(parents=True, exist_ok=True)
    probe = job_dir / '.writable'
    probe.touch()
    probe.unlink()
  except OSError as error:
    raise main.UsageError(
        f'cannot write to the job directory {job_dir}: {error.strerror}; choose'
        ' another with --job_dir'
    ) from error


def record(
    job_dir: pathlib.Path, name: str, settings: dict[str, Any], **more: Any
) -> None:
  """Keeps with the job what it ran.

  Args:
    job_dir: its folder.
    name: of the experiment.
    settings: changed ones.
    **more: what else to write down.

  Raises:
    UsageError: there is no such experiment, or the folder already holds a job
      of something else.
  """
  check_name(name)
  path = job_dir / RECORD_NAME
  new = {'experiment': name, 'settings': settings, **more}
  if path.exists():
    old = json.loads(path.read_text())
    if 'imported_from' in old:
      raise main.UsageError(
          f'{job_dir} holds imported weights; choose another folder with'
          f' --job_dir, and start from them with --set INIT_FROM={job_dir}'
      )
    if old['experiment'] != name:
      raise main.UsageError(
          f'{job_dir} holds a job of {old["experiment"]}; choose another folder'
          f' for {name} with --job_dir'
      )
  path.write_text(json.dumps(new, indent=2, default=repr) + '\n')


def recorded(job_dir: pathlib.Path) -> tuple[str, dict[str, Any]]:
  """Returns name and settings of the experiment that a job ran.

  Jobs started by `softmoe train` say so themselves; of those started by
  `paxml.main --exp`, Pax writes down the class.

  Raises:
    UsageError: the folder holds no job, or one that does not say.
  """
  path = job_dir / RECORD_NAME
  if path.exists():
    found = json.loads(path.read_text())
    return found['experiment'], found['settings']
  class_file = job_dir / 'experiment_cls_vars.txt'
  if class_file.exists():
    pattern = rf'^{re.escape(EXPERIMENTS)}\.(\w+):$'
    classes = re.findall(pattern, class_file.read_text(), re.MULTILINE)
    if classes:
      return classes[-1], {}
    raise main.UsageError(
        f'{job_dir} does not say which settings it ran with; name them with'
        ' --experiment and --set'
    )
  raise main.UsageError(f'{job_dir} holds no job; give the folder of one')


def add_job_arguments(parser: Any) -> None:
  """Adds the arguments of commands that read a finished job."""
  # Jobs on TPUs are in buckets.
  parser.add_argument('job_dir', type=epath.Path, help='folder of a job')
  parser.add_argument(
      '--experiment', metavar='EXP', help='what the job ran, if it does not say'
  )
  parser.add_argument(
      '--step', type=int, help='which checkpoint (default: the last)'
  )
  add_setting_argument(parser)


def add_setting_argument(parser: Any) -> None:
  """Adds --set NAME=VALUE."""
  parser.add_argument(
      '--set',
      action='append',
      default=[],
      metavar='NAME=VALUE',
      help='change a setting of the experiment; may be repeated',
  )


def experiment_of(arguments: Any) -> Any:
  """Returns the experiment, an instance, of a finished job's arguments.

  Raises:
    UsageError: see `recorded` and `find_experiment`.
  """
  if arguments.experiment:
    name, settings = arguments.experiment, {}
  else:
    name, settings = recorded(arguments.job_dir)
  settings.update(parse_settings(arguments.set))
  return find_experiment(name).with_settings(**settings)()


def check_name(name: str) -> None:
  """Raises UsageError if there is no experiment of that name."""
  if name not in registered():
    raise main.UsageError(
        f'there is no experiment {name!r}; `softmoe list` shows all of them'
    )


def find_experiment(name: str) -> Any:
  """Returns the registered experiment of that name, a class.

  Raises:
    UsageError: there is none.
  """
  name = name.removeprefix(EXPERIMENTS + '.')
  check_name(name)
  return getattr(load_experiments(), name)


def load_experiments() -> Any:
  """Returns the module of all experiments; takes seconds, as it loads PaxML."""
  with quiet.startup():
    return importlib.import_module(EXPERIMENTS)


def checkout() -> pathlib.Path:
  """Returns the folder that the package is in: that of a checkout, if it is."""
  return pathlib.Path(pax_softmoe.__file__).parents[1]


def registered() -> list[str]:
  """Returns the names of all experiments, in the order of their definition.

  Read from the source, since importing it takes seconds.
  """
  source = importlib.util.find_spec(EXPERIMENTS).origin
  tree = ast.parse(pathlib.Path(source).read_text())
  return [
      node.name
      for node in tree.body
      if isinstance(node, ast.ClassDef)
      and any(getattr(d, 'id', '') == 'register' for d in node.decorator_list)
  ]
