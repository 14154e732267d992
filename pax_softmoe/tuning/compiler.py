"""Compiles points of one experiment, each only once: results stay on disk."""

import hashlib
import importlib.metadata
import json
import os
import pathlib
from typing import Any

import pax_softmoe
from pax_softmoe.tpu import flags
from pax_softmoe.tpu import libtpu
from pax_softmoe.tuning import child
from pax_softmoe.tuning import space

_PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'paxml', 'praxis')
# Modules of this folder that results depend on.
_COMPILING = ('compile_step', 'cuts', 'layout')
# Tells apart what is worth trying again from what would end the same.
_FINAL = ('ok', 'out of memory')


class Compiler:
  """Compiles points in child processes, or finds what came out before.

  Attributes:
    experiment: name of a registered experiment.
    settings: of the experiment, at every point.
    slice_name: a key of `hardware.SLICES`.
    target: 'tpu', or 'cpu' where there is no compiler for TPUs.
  """

  def __init__(
      self,
      experiment: str,
      settings: dict[str, Any],
      slice_name: str,
      target: str,
      folder: pathlib.Path,
  ):
    """Makes the folder.

    Args:
      experiment: see `Compiler`.
      settings: see `Compiler`.
      slice_name: see `Compiler`.
      target: see `Compiler`.
      folder: where results are kept.

    Raises:
      OSError: the folder cannot be made.
    """
    self.experiment = experiment
    self.settings = settings
    self.slice_name = slice_name
    self.target = target
    self._folder = folder
    self._versions = {
        **versions(),
        'source': _source_hash(),
        'libtpu_bytes': _libtpu_bytes(target),
        'flags': flags.users(),
    }
    folder.mkdir(parents=True, exist_ok=True)

  def cached(self, point: space.Point, effort: str) -> dict[str, Any] | None:
    """Returns what came out of compiling the same before, or None."""
    path = self._path(point, effort)
    if not path.exists():
      return None
    result = json.loads(path.read_text())
    return result if result['status'] in _FINAL else None

  def __call__(
      self, point: space.Point, effort: str, timeout: float
  ) -> dict[str, Any]:
    """Returns `child.compile_step` of a point, or what is cached."""
    result = self.cached(point, effort)
    if result is None:
      path = self._path(point, effort)
      part = path.with_suffix('.part')
      request = self._request(point, effort)
      result = child.compile_step(request, part, timeout)
      # Complete or not there at all: another sweep may be reading.
      part.write_text(json.dumps(result))
      part.rename(path)
    return result

  def _request(self, point: space.Point, effort: str) -> dict[str, Any]:
    return {
        'experiment': self.experiment,
        'settings': {**self.settings, **point.settings()},
        'slice': self.slice_name,
        'effort': effort,
        'flags': flags.text(point.compiler_flags),
        'target': self.target,
    }

  def _path(self, point: space.Point, effort: str) -> pathlib.Path:
    content = [self._request(point, effort), self._versions]
    text = json.dumps(content, sort_keys=True, default=repr)
    digest = hashlib.sha256(text.encode()).hexdigest()[:24]
    return self._folder / f'{digest}.json'


def default_folder() -> pathlib.Path:
  """Returns where results are kept if no one says otherwise."""
  cache = os.environ.get('XDG_CACHE_HOME') or pathlib.Path.home() / '.cache'
  return pathlib.Path(cache) / 'pax_softmoe' / 'tune'


def find_target() -> str:
  """Returns 'tpu' if there is a compiler for TPUs, else 'cpu'."""
  try:
    libtpu.path()
  except RuntimeError:
    return 'cpu'
  return 'tpu'


def versions() -> dict[str, str]:
  """Returns the versions of packages that compiled programs depend on."""
  found = {'pax_softmoe': pax_softmoe.__version__}
  for name in _PACKAGES:
    try:
      found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
      found[name] = ''
  return found | {'libtpu': libtpu.version()}


def _libtpu_bytes(target: str) -> int:
  """Returns the size of libtpu, which may be no installed package."""
  return os.path.getsize(libtpu.path()) if target == 'tpu' else 0


def _source_hash() -> str:
  """Returns a hash of the modules that make a train step and read it."""
  root = pathlib.Path(pax_softmoe.__file__).parent
  digest = hashlib.sha256()
  # The folder of experiments may be a link, which globbing does not follow.
  folders = [root, *(path for path in root.iterdir() if path.is_dir())]
  for folder in sorted(folders):
    for path in sorted(folder.glob('*.py')):
      name = f'{folder.name}/{path.name}'
      is_tuning = folder.name == 'tuning' and path.stem not in _COMPILING
      if folder.name not in ('tools', 'data', 'launch') and not is_tuning:
        digest.update(name.encode() + path.read_bytes())
  return digest.hexdigest()
