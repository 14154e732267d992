"""Jobs on disk: which experiment they ran, and their child processes."""

import ast
from collections.abc import Callable
from collections.abc import Sequence
import hashlib
import importlib
from importlib import metadata
import importlib.util
import os
import pathlib
import platform
import re
import sys
from typing import Any

from etils import epath
import pax_softmoe
from pax_softmoe import files
from pax_softmoe.running import claim
from pax_softmoe.running import record as record_file
from pax_softmoe.tools import arguments as arguments_of
from pax_softmoe.tools import main
from pax_softmoe.tools import quiet

EXPERIMENTS = record_file.EXPERIMENTS
LOG_NAME = 'pax.log'
RECORD_NAME = record_file.NAME

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
    pairs: a value that is no Python literal is taken as text.

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
  path = name if '.' in name else f'{EXPERIMENTS}.{name}'
  if not settings:
    return f'--exp={path}'
  arguments = ', '.join(f'{k}={v!r}' for k, v in settings.items())
  return f'--fdl=config:{path}.as_config({arguments})'


def make_folder(job_dir: os.PathLike) -> None:
  """Makes the folder of a job; raises UsageError if nothing can be put there."""
  folder = epath.Path(job_dir)
  probe = folder / f'.writable_{os.getpid()}'
  try:
    folder.mkdir(parents=True, exist_ok=True)
    probe.write_text('')
    probe.unlink()
  except Exception as error:
    # TensorFlow has errors of its own for buckets.
    if not isinstance(error, OSError) and not files.is_remote(job_dir):
      raise
    reason = getattr(error, 'strerror', None) or str(error).partition('\n')[0]
    raise main.UsageError(
        f'cannot write to the job directory {job_dir}: {reason}; choose another'
        ' with --job_dir'
    ) from error


def check_free(
    job_dir: os.PathLike,
    name: str,
    say: Callable[[str], Any] = lambda _: None,
) -> None:
  """Checks that an experiment may train in a folder; changes nothing.

  Args:
    job_dir: the folder.
    name: of the experiment.
    say: called with what is waited for.

  Raises:
    UsageError: the folder holds something else.
    HeldError: another process of this machine trains there.
  """
  try:
    record_file.check(job_dir, name)
  except record_file.RecordError as error:
    raise main.UsageError(str(error)) from error
  claim.check(job_dir, say)


def record(
    job_dir: os.PathLike, name: str, settings: dict[str, Any], **more: Any
) -> None:
  """Keeps with weights what they are of, as a job does by itself.

  Args:
    job_dir: the folder.
    name: of the experiment.
    settings: changed ones.
    **more: what else to write down.

  Raises:
    UsageError: there is no such experiment, or the folder already holds a job
      of something else.
  """
  check_name(name)
  check_free(job_dir, name)
  made = {'experiment': name, 'settings': settings, **more}
  record_file.write(job_dir, made)


def recorded(job_dir: os.PathLike) -> tuple[str, dict[str, Any]]:
  """Returns name and settings of the experiment that a job ran.

  Raises:
    UsageError: the folder holds no job, or one that does not say.
  """
  found = _recorded(job_dir)
  return found['experiment'], found['settings']


def _recorded(job_dir: os.PathLike) -> dict[str, Any]:
  try:
    found = record_file.read(job_dir)
  except record_file.RecordError as error:
    raise main.UsageError(str(error)) from error
  if found is None:
    raise main.UsageError(f'{job_dir} holds no job; give the folder of one')
  return found


def add_job_arguments(parser: Any) -> None:
  """Adds the arguments of commands that read a finished job."""
  # Jobs on TPUs are in buckets.
  parser.add_argument('job_dir', type=arguments_of.path, help='folder of a job')
  parser.add_argument(
      '--experiment', metavar='EXP', help='what the job ran, if it does not say'
  )
  parser.add_argument(
      '--step',
      type=arguments_of.natural,
      help='which checkpoint (default: the last)',
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
    found = _recorded(arguments.job_dir)
    name, settings = found['experiment'], found['settings']
    if fdl := found.get('fdl'):
      print(
          f'softmoe: the job also ran with {" ".join(fdl)}, which is left out'
          ' here; if it changes the model, give settings that do so with --set',
          file=sys.stderr,
      )
  kind = find_experiment(name)
  try:
    kind = kind.with_settings(**settings)
  except ValueError as error:
    path = epath.Path(arguments.job_dir) / RECORD_NAME
    raise main.UsageError(f'{path}: {error}') from error
  return kind.with_settings(**parse_settings(arguments.set))()


def check_name(name: str) -> None:
  """Raises UsageError if there is no experiment of that name."""
  # One of another module is known once that is imported.
  if '.' not in name and name not in registered():
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
  try:
    with quiet.startup():
      return record_file.find(name)
  except record_file.RecordError as error:
    raise main.UsageError(str(error)) from error


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
