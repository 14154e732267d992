"""What a job ran, in softmoe.json of its folder.

    {"experiment": "SoftMoES16", "settings": {"NUM_EXPERTS": 64}}

An experiment of another module than `pax_softmoe.experiments` has its module
before its name. `fdl`, if there, has flags that changed more than settings do.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import importlib
import json
import os
import re
from typing import Any

from etils import epath
import pax_softmoe
from pax_softmoe import files

NAME = 'softmoe.json'
EXPERIMENTS = f'{pax_softmoe.__name__}.experiments'


class RecordError(ValueError):
  """The folder's record is none, or is of another job."""


def of(
    cls: type, settings: Mapping[str, Any], fdl: tuple[str, ...] = ()
) -> dict[str, Any]:
  """Returns the record of an experiment, as JSON gives it back.

  Args:
    cls: class of the experiment, one that can be imported.
    settings: what was changed of it.
    fdl: flags of Fiddle that changed more.

  Raises:
    TypeError: a setting cannot be written down.
  """
  name = f'{cls.__module__}.{cls.__name__}'.removeprefix(EXPERIMENTS + '.')
  made = {'experiment': name, 'settings': dict(settings)}
  if fdl:
    made['fdl'] = list(fdl)
  return json.loads(json.dumps(made, default=_plain))


def read(job_dir: os.PathLike) -> dict[str, Any] | None:
  """Returns the record in a folder; None if it has none.

  Of jobs of earlier versions that `paxml.main --exp` started, only Pax tells
  the class.

  Raises:
    RecordError: the file is damaged, or Pax does not say enough.
  """
  path = epath.Path(job_dir) / NAME
  problem = None
  try:
    text = files.read(path)
    if text is None:
      return _of_pax(job_dir)
    found = json.loads(text)
  except OSError as error:
    problem = f'not to be read ({error.strerror})'
  except UnicodeError:
    problem = 'no text'
  except ValueError as error:
    problem = f'no JSON ({error})' if text.strip() else 'empty'
  else:
    if not isinstance(found, dict):
      problem = f'{type(found).__name__}, not what a job ran'
    elif not isinstance(found.get('experiment'), str):
      problem = 'without the name of an experiment'
    elif not isinstance(found.get('settings'), dict):
      problem = 'without the settings of the experiment'
  if problem:
    raise RecordError(
        f'{path} is {problem}; remove it, and say what the job ran with'
        ' --experiment and --set, or train on in the folder'
    )
  return found


def _of_pax(job_dir: os.PathLike) -> dict[str, Any] | None:
  classes = epath.Path(job_dir) / 'experiment_cls_vars.txt'
  text = files.read(classes)
  if text is None:
    return None
  pattern = rf'^{re.escape(EXPERIMENTS)}\.(\w+):$'
  if found := re.findall(pattern, text, re.MULTILINE):
    return {'experiment': found[-1], 'settings': {}}
  raise RecordError(
      f'{job_dir} does not say which settings it ran with; name them with'
      ' --experiment and --set'
  )


def find(name: str) -> type:
  """Returns the class of an experiment by its name in a record.

  Takes seconds: it loads PaxML.

  Raises:
    RecordError: there is none.
  """
  module, _, cls = name.rpartition('.')
  module = module or EXPERIMENTS
  try:
    found = getattr(importlib.import_module(module), cls, None)
  except ModuleNotFoundError as error:
    raise RecordError(
        f'{name} cannot be found ({error}); give the folder of its module in'
        ' PYTHONPATH'
    ) from error
  if not isinstance(found, type):
    raise RecordError(
        f'there is no experiment {cls!r} in {module}; see its name'
    )
  return found


def check(job_dir: os.PathLike, name: str) -> dict[str, Any] | None:
  """Checks that an experiment may train in a folder; changes nothing.

  Args:
    job_dir: the folder.
    name: of the experiment, as in a record.

  Returns:
    The record of the job that is there, None if there is none yet.

  Raises:
    RecordError: the folder holds something else.
  """
  has_own = (epath.Path(job_dir) / NAME).exists()
  old = read(job_dir) if has_own else None
  if old is None:
    return None
  if 'imported_from' in old:
    raise RecordError(
        f'{job_dir} holds imported weights; choose another folder with'
        f' --job_dir, and start from them with --set INIT_FROM={job_dir}'
    )
  if old['experiment'] != name:
    raise RecordError(
        f'{job_dir} holds a job of {old["experiment"]}; choose another folder'
        f' for {name} with --job_dir'
    )
  return old


def write(job_dir: os.PathLike, made: Mapping[str, Any]) -> None:
  """Writes the record of a job."""
  text = json.dumps(made, indent=2, default=_plain)
  files.write_whole(epath.Path(job_dir) / NAME, text + '\n')


def _plain(value: Any) -> Any:
  """Returns for JSON what it does not know: mappings, ranges, dtypes."""
  if isinstance(value, Mapping):
    return dict(value)
  # Commands that only read records do without.
  import numpy as np

  if isinstance(value, (np.generic, np.ndarray)):
    return value.tolist()
  if isinstance(value, Sequence):
    return list(value)
  return np.dtype(value).name
