"""A folder of this machine in the place of a bucket of Google Cloud."""

from collections.abc import Callable
import contextlib
import functools
import importlib
import os
import pathlib
from typing import Any
from unittest import mock

from etils.epath import backend
from etils.epath import gpath
from pax_softmoe.checkpoints import structure
import tensorflow as tf

NAME = 'gs://bucket'
_METHODS = (
    'open exists isdir listdir glob walk makedirs mkdir rmtree remove rename'
    ' replace copy stat'
)


class _Backend:
  """What etils' paths do with files, for URLs of the bucket and local paths."""

  def __init__(self, root: pathlib.Path):
    for name in _METHODS.split():
      method = getattr(backend.os_backend, name)
      setattr(self, name, functools.partial(self._call, method, root))

  def _call(
      self, method: Callable, root: pathlib.Path, *args: Any, **kwargs: Any
  ) -> Any:
    result = method(*(_local(root, x) for x in args), **kwargs)
    if method.__name__ == 'glob':
      return [str(p).replace(str(root), NAME) for p in result]
    return result


def _local(root: pathlib.Path, path: Any) -> Any:
  """Returns where a path of the bucket lies; others as they are."""
  if isinstance(path, (str, os.PathLike)):
    text = os.fspath(path)
    if text == NAME or text.startswith(f'{NAME}/'):
      return f'{root}{text.removeprefix(NAME)}'
  return path


_ORBAX = (
    'orbax.checkpoint.type_handlers',
    'orbax.checkpoint._src.serialization.serialization',
    'orbax.checkpoint._src.serialization.tensorstore_utils',
)


def _module(name: str) -> Any:
  try:
    return importlib.import_module(name)
  except ModuleNotFoundError:
    return None


@contextlib.contextmanager
def at(root: pathlib.Path):
  """Makes gs://bucket be a folder, for etils, TensorStore and TensorFlow."""
  local = functools.partial(_local, root)
  spec = structure.tensorstore_spec

  def on_paths(function: Callable, at: int) -> Callable:
    def call(*args: Any, **kwargs: Any) -> Any:
      args = [local(x) if i == at else x for i, x in enumerate(args)]
      return function(*args, **kwargs)

    return call

  def kvstore(path: str) -> dict[str, str]:
    return {'driver': 'file', 'path': local(path)}

  remote = _Backend(root)
  # Where orbax has what it asks for the place of an array, by its versions.
  kvstores = [
      mock.patch.object(module, '_get_kvstore_for_gcs', kvstore)
      for module in map(_module, _ORBAX)
      if hasattr(module, '_get_kvstore_for_gcs')
  ]
  with (
      contextlib.ExitStack() as stack,
      mock.patch.object(backend, 'tf_backend', remote),
      mock.patch.object(gpath, '_GCS_BACKENDS', {remote}),
      mock.patch.object(
          structure, 'tensorstore_spec', lambda path: spec(local(path))
      ),
      mock.patch.object(
          tf.saved_model, 'save', on_paths(tf.saved_model.save, 1)
      ),
      mock.patch.object(tf.io, 'read_file', on_paths(tf.io.read_file, 0)),
  ):
    for patch in kvstores:
      stack.enter_context(patch)
    yield
