"""Settings that were tuned for TPU slices, in files beside this one.

tuned/EXPERIMENT.json maps a slice to an entry, which `softmoe tune EXPERIMENT
--slice=SLICE --write` makes:

  settings     what SLICE makes an experiment take
  estimate     what the compiler and arithmetic say of them; nothing measured
  environment  variables that the compiler relied on
  versions     of the packages that made the estimate
"""

from collections.abc import Mapping
import json
import pathlib
from typing import Any

from pax_softmoe.tpu import hardware

FOLDER = pathlib.Path(__file__).with_name('tuned')

# What an entry may hold: none of them changes what a model is.
SETTINGS = (
    'ICI_MESH_SHAPE',
    'DCN_MESH_SHAPE',
    'SHARDING',
    'SHARDING_OVERRIDES',
    'REMAT',
    'EXCHANGE_PARTS',
    'SCAN_LAYERS',
    'TRAIN_BATCH_SIZE',
    'EVAL_BATCH_SIZE',
    'FIRST_MOMENT_DTYPE',
)


def entries(name: str) -> dict[str, Any]:
  """Returns the entries of an experiment by slice; none if it has no file."""
  path = FOLDER / f'{name}.json'
  return json.loads(path.read_text()) if path.exists() else {}


def find(experiment: type, slices: str) -> dict[str, Any]:
  """Returns what is stored for a slice.

  Args:
    experiment: a class; one without an entry takes that of the first of its
      bases that has one.
    slices: 'v4-128', or '2xv4-128' for several.

  Raises:
    ValueError: there is no such slice, or nothing is stored for it.
  """
  hardware.parse_slices(slices)
  by_slice = {}
  for cls in reversed(experiment.__mro__):
    by_slice.update(entries(cls.__name__))
  if slices not in by_slice:
    name = experiment.__name__
    others = f', only for {", ".join(by_slice)}' if by_slice else ''
    raise ValueError(
        f'{name}: no settings are stored for {slices}{others}; `softmoe tune'
        f' {name} --slice={slices} --write` makes them'
    )
  return by_slice[slices]


def write(name: str, slices: str, entry: Mapping[str, Any]) -> pathlib.Path:
  """Stores an entry in place of the one that may be there.

  Args:
    name: of the experiment.
    slices: see `find`.
    entry: see the module.

  Returns:
    The file.

  Raises:
    OSError: it cannot be written; the message says what to do.
  """
  return write_file(f'{name}.json', entries(name) | {slices: entry})


def write_file(name: str, content: Mapping[str, Any]) -> pathlib.Path:
  """Writes a file of this folder; see `write`."""
  path = FOLDER / name
  part = path.with_suffix('.part')
  try:
    FOLDER.mkdir(exist_ok=True)
    part.write_text(json.dumps(content, indent=1) + '\n')
    part.rename(path)
  except OSError as error:
    raise OSError(
        f'cannot store settings in {path}: {error.strerror}; --write needs a'
        ' checkout that is yours, installed by `make env`'
    ) from error
  return path
