"""What `description` found for every registered experiment, in files.

Computing it means importing PaxML and TensorFlow, which takes seconds; reading
it does not. `make golden` writes it to `experiments/catalogue/`: a file for each
experiment as it is, on one device, and one for what they have in common.
"""

from collections.abc import Mapping
import hashlib
import json
import math
import os
import pathlib
from typing import Any

import pax_softmoe

# Of a setting: what its owner says of it, alike in all experiments.
_DECLARED = ('default', 'takes', 'meaning', 'kept', 'group')
_COMMON = 'common.json'
_ARRAYS = ('weights', 'activations')


def folder() -> pathlib.Path:
  """Returns the folder of the files, which is beside the experiments."""
  return pathlib.Path(pax_softmoe.__file__).parent / 'experiments/catalogue'


def read(name: str) -> dict[str, Any] | None:
  """Returns what `description.describe` would of an experiment.

  Args:
    name: of the experiment, none of whose settings is changed.

  Returns:
    None if it must be computed: it was registered or changed since, or the
    machine may have several devices.
  """
  path = folder() / f'{name}.json'
  if not path.exists() or not _has_one_device():
    return None
  common = json.loads((folder() / _COMMON).read_text())
  if common['sources'] != _sources():
    return None
  found = json.loads(path.read_text())
  found['settings'] = {
      name: {'value': value, 'set_by': set_by} | common['settings'][declared]
      for name, (value, set_by, declared) in found['settings'].items()
  }
  for kind in _ARRAYS:
    found[kind] = [
        {
            'name': name,
            'shape': shape,
            'split': split,
            'itemsize': itemsize,
            'mesh': found['mesh'],
            'bytes_per_device': math.prod(shape) * itemsize,
        }
        for name, shape, split, itemsize in found[kind]
    ]
  return found


def write(described: Mapping[str, Mapping[str, Any]]) -> None:
  """Writes the files of all experiments, and removes those of others.

  Args:
    described: by name, what `description.describe` found on one device.
  """
  folder().mkdir(exist_ok=True)
  for path in folder().glob('*.json'):
    path.unlink()
  declared = []
  for name, found in described.items():
    rows = {}
    for setting, row in found['settings'].items():
      declaration = {k: row[k] for k in _DECLARED}
      if declaration not in declared:
        declared.append(declaration)
      number = declared.index(declaration)
      rows[setting] = [row['value'], row['set_by'], number]
    arrays = {
        kind: [
            [a[k] for k in ('name', 'shape', 'split', 'itemsize')]
            for a in found[kind]
        ]
        for kind in _ARRAYS
    }
    _write(f'{name}.json', {**found, 'settings': rows, **arrays})
  _write(_COMMON, {'sources': _sources(), 'settings': declared})


def _write(name: str, content: Mapping[str, Any]) -> None:
  """Writes JSON with a line for each part, and for each part of a list."""
  lines = []
  for key, value in content.items():
    text = json.dumps(value)
    if key in _ARRAYS or isinstance(value, list) and key == 'settings':
      text = '[\n  ' + ',\n  '.join(map(json.dumps, value)) + '\n ]'
    elif isinstance(value, dict) and key == 'settings':
      parts = (f'{json.dumps(k)}: {json.dumps(v)}' for k, v in value.items())
      text = '{\n  ' + ',\n  '.join(parts) + '\n }'
    lines.append(f' {json.dumps(key)}: {text}')
  (folder() / name).write_text('{\n' + ',\n'.join(lines) + '\n}\n')


def _sources() -> str:
  """Returns a digest of the modules of the experiments."""
  digest = hashlib.sha256()
  for path in sorted(folder().parent.glob('*.py')):
    digest.update(path.name.encode() + path.read_bytes())
  return digest.hexdigest()


def _has_one_device() -> bool:
  """Returns whether JAX is sure to find one device, without asking it."""
  flags = os.environ.get('XLA_FLAGS', '')
  if 'device_count' in flags or 'JAX_NUM_CPU_DEVICES' in os.environ:
    return False
  platforms = os.environ.get('JAX_PLATFORMS', '')
  if platforms:
    return platforms == 'cpu'
  devices = pathlib.Path('/dev')
  return 'TPU_NAME' not in os.environ and not any(
      any(devices.glob(name))
      for name in ('accel*', 'vfio/*', 'nvidia[0-9]*', 'kfd')
  )
