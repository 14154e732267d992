"""What `description` found for every registered experiment, in files.

Computing it means importing PaxML and TensorFlow, which takes seconds; reading
it does not. `make golden` writes it to `experiments/catalogue/`: a file for each
experiment as it is on one device, one for each slice that settings of just that
experiment are stored for, and one for what all have in common.
"""

from collections.abc import Iterator
from collections.abc import Mapping
import hashlib
import json
import os
import pathlib
from typing import Any

import pax_softmoe
from pax_softmoe.sharding import axis_rules

# Of an array: what its size on each device follows from.
ARRAY = ('name', 'shape', 'split', 'itemsize', 'mesh')
# Of a setting: what its owner says of it, alike in all experiments.
_DECLARED = ('default', 'takes', 'meaning', 'kept', 'group')
_COMMON = 'common.json'
_ARRAYS = ('weights', 'activations')
# Parts with a line for each of their parts.
_LONG = ('settings', *_ARRAYS)


def folder() -> pathlib.Path:
  """Returns the folder of the files, which is beside the experiments."""
  return pathlib.Path(pax_softmoe.__file__).parent / 'experiments/catalogue'


def read(name: str, slices: str | None = None) -> dict[str, Any] | None:
  """Returns what `description.describe` would of an experiment.

  Args:
    name: of the experiment.
    slices: the setting SLICE; no other is changed.

  Returns:
    None if it must be computed: it is not here, has changed since, or the
    machine may have several devices.
  """
  path = folder() / _file(name, slices)
  if not path.exists() or not _has_one_device():
    return None
  common, found = _load(_COMMON), _load(path.name)
  if (common['sources'], found.pop('tuned')) != (_sources(), _tuned(slices)):
    return None
  _expand_settings(found, common)
  for kind in _ARRAYS:
    found[kind] = [
        axis_rules.Array(**dict(zip(ARRAY, [*row, found['mesh']]))).as_dict()
        for row in found[kind]
    ]
  return found


def every() -> Iterator[dict[str, Any]]:
  """Yields what was written of every experiment, changed since or not.

  Arrays are as they are written; settings are as `read` has them.
  """
  common = _load(_COMMON)
  for name in common['files']:
    found = _load(name)
    _expand_settings(found, common)
    yield found


def _load(name: str) -> dict[str, Any]:
  return json.loads((folder() / name).read_text())


def _expand_settings(found: dict[str, Any], common: dict[str, Any]) -> None:
  """Puts into each setting what its declaration says."""
  found['settings'] = {
      name: {'value': value, 'set_by': set_by} | common['settings'][declared]
      for name, (value, set_by, declared) in found['settings'].items()
  }


def write(described: Mapping[tuple[str, str | None], Any]) -> None:
  """Writes all files, and removes those of others.

  Args:
    described: by experiment and slice, what `description.describe` found.
  """
  folder().mkdir(exist_ok=True)
  for path in folder().glob('*.json'):
    path.unlink()
  declared = []
  for (name, slices), found in described.items():
    rows = {}
    for setting, row in found['settings'].items():
      declaration = {k: row[k] for k in _DECLARED}
      if declaration not in declared:
        declared.append(declaration)
      number = declared.index(declaration)
      rows[setting] = [row['value'], row['set_by'], number]
    arrays = {
        kind: [[a[k] for k in ARRAY[:-1]] for a in found[kind]]
        for kind in _ARRAYS
    }
    content = {'tuned': _tuned(slices), **found, 'settings': rows, **arrays}
    _write(_file(name, slices), content)
  common = {
      'sources': _sources(),
      'files': [_file(*key) for key in described],
      'settings': declared,
  }
  _write(_COMMON, common)


def _file(name: str, slices: str | None) -> str:
  return f'{name}@{slices}.json' if slices else f'{name}.json'


def _write(name: str, content: Mapping[str, Any]) -> None:
  """Writes JSON of which single settings and arrays are single lines."""
  texts = {
      key: _lines(value) if key in _LONG else json.dumps(value)
      for key, value in content.items()
  }
  parts = ',\n'.join(f' "{key}": {text}' for key, text in texts.items())
  (folder() / name).write_text(f'{{\n{parts}\n}}\n')


def _lines(value: dict[str, Any] | list[Any]) -> str:
  """Returns JSON with a line for each part."""
  if isinstance(value, dict):
    parts = [f'{json.dumps(k)}: {json.dumps(v)}' for k, v in value.items()]
    first, last = '{}'
  else:
    parts = [json.dumps(v) for v in value]
    first, last = '[]'
  inner = ',\n  '.join(parts)
  return f'{first}\n  {inner}\n {last}'


def _sources() -> str:
  """Returns a digest of the modules of the experiments."""
  digest = hashlib.sha256()
  for path in sorted(folder().parent.glob('*.py')):
    digest.update(path.name.encode() + path.read_bytes())
  return digest.hexdigest()


def _tuned(slices: str | None) -> str:
  """Returns a digest of what is stored for a slice; '' without one."""
  if slices is None:
    return ''
  entries = [
      [path.name, json.loads(path.read_text()).get(slices)]
      for path in sorted(folder().with_name('tuned').glob('*.json'))
  ]
  return hashlib.sha256(json.dumps(entries).encode()).hexdigest()


def _has_one_device() -> bool:
  """Returns whether JAX is sure to find one device, without asking it."""
  flags = os.environ.get('XLA_FLAGS', '')
  if 'device_count' in flags or 'JAX_NUM_CPU_DEVICES' in os.environ:
    return False
  platforms = os.environ.get('JAX_PLATFORMS', '')
  if platforms:
    return platforms == 'cpu'
  names = ('accel*', 'vfio/*', 'nvidia[0-9]*', 'kfd')
  found = (path for name in names for path in pathlib.Path('/dev').glob(name))
  return 'TPU_NAME' not in os.environ and not any(found)
