"""All that differs between the versions of libraries that are supported.

Three stacks: Pax' own pins (jax 0.4.26), `requirements.lock` (jax 0.5.3) and
`requirements-new.lock` (jax 0.10.2). What a version has is left as it is.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import dataclasses
import functools
import importlib
import importlib.metadata
from typing import Any
from unittest import mock
import warnings

import ml_dtypes
import numpy as np


@dataclasses.dataclass(frozen=True)
class Name:
  """A name that Pax 1.4.0 reads and newer libraries have no more.

  Attributes:
    module: that had it.
    name: in there.
    gone: since which version of the library.
    used: where Pax reads it.
    make: returns what to put in its place.
  """

  module: str
  name: str
  gone: str
  used: str
  make: Callable[[], Any]


def _attribute(module: str, name: str) -> Callable[[], Any]:
  return lambda: getattr(importlib.import_module(module), name)


def _never(what: str) -> Callable[[], Any]:
  """Returns what makes a class for isinstance, of which there is no instance."""

  def refuse(*unused: Any, **unused_too: Any) -> None:
    raise NotImplementedError(
        f'this jax has no {what}; use an older one, or what Pax does without'
    )

  return lambda: type(what, (), {'__init__': refuse, 'default': refuse})


NAMES = (
    Name(
        'jax',
        'tree_map',
        'jax 0.6.0',
        'all over paxml and praxis',
        _attribute('jax.tree_util', 'tree_map'),
    ),
    Name(
        'jax',
        'tree_flatten',
        'jax 0.6.0',
        'praxis/py_utils.py, paxml/sgf.py',
        _attribute('jax.tree_util', 'tree_flatten'),
    ),
    Name(
        'jax',
        'tree_unflatten',
        'jax 0.6.0',
        'paxml/sgf.py',
        _attribute('jax.tree_util', 'tree_unflatten'),
    ),
    # Since, copies of arrays of several processes are always allowed.
    Name(
        'jax',
        'spmd_mode',
        'jax 0.6.2',
        'paxml/tasks_lib.py',
        lambda: lambda mode: contextlib.nullcontext(),
    ),
    Name(
        'jax.sharding',
        'GSPMDSharding',
        'jax 0.7.2',
        "praxis/base_input.py, for an order of devices of one's own",
        _attribute('jax._src.sharding_impls', 'GSPMDSharding'),
    ),
    Name(
        'jax.lib',
        'xla_client',
        'jax 0.9.0',
        'praxis/base_input.py, as it is imported',
        lambda: importlib.import_module('jaxlib.xla_client'),
    ),
    Name(
        'jax.sharding',
        'PmapSharding',
        'jax 0.10.0',
        'praxis/py_utils.py, for pmap',
        _never('PmapSharding'),
    ),
    Name(
        'jax.experimental.pjit',
        'AUTO',
        'jax 0.10.2',
        'paxml/partitioning.py, in isinstance',
        _never('AUTO'),
    ),
    Name(
        'numpy',
        'unicode_',
        'NumPy 2.0',
        "paxml's evaluation loop",
        lambda: np.str_,
    ),
)


def restore() -> list[str]:
  """Puts back those of `NAMES` that the installed libraries have not.

  Returns:
    Which those are, as 'jax.tree_map'.
  """
  found = []
  for name in NAMES:
    module = importlib.import_module(name.module)
    with warnings.catch_warnings():
      warnings.simplefilter('ignore')  # They are deprecated before they go.
      if not hasattr(module, name.name):
        setattr(module, name.name, name.make())
        found.append(f'{name.module}.{name.name}')
  return found


def keep_dimensions_of_outputs() -> None:
  """Corrects what Pax does to outputs of one device, or with one row on each.

  Releases after 1.4.0, as of July 2026, take such outputs for those of pmap and
  drop their first dimension, in silence. 1.4.0 returns the first shard as it is,
  which is right for pjit, the only way in which the experiments here run.
  """
  from praxis import py_utils

  if 'squeeze' in py_utils._unreplicate.__code__.co_names:
    py_utils._unreplicate = _first_shard


def _first_shard(data: Any) -> Any:
  import jax

  return data.addressable_data(0) if isinstance(data, jax.Array) else data


def is_prepared(builder: Any) -> bool:
  """Returns whether the files of a `tfds.core.DatasetBuilder` are there.

  The method for it came after TensorFlow Datasets 4.8.
  """
  if hasattr(builder, 'is_prepared'):
    return builder.is_prepared()
  return builder.data_path.exists()


def version(package: str) -> tuple[int, int]:
  """Returns the first two numbers of an installed package's version."""
  first, second = importlib.metadata.version(package).split('.')[:2]
  return int(first), int(second)


def saved_model_options(platforms: Sequence[str]) -> dict[str, Any]:
  """Returns how `jax2tf.convert` writes a program, as keyword arguments.

  As StableHLO for the platforms, unless TensorFlow is too old to read what this
  version of JAX writes; then as TensorFlow's own operations, for any platform.
  """
  if version('tensorflow') < (2, 15):
    return {'native_serialization': False}
  return {'native_serialization_platforms': platforms}


@contextlib.contextmanager
def top_k_for_tensorflow() -> Iterator[None]:
  """Lets `jax.lax.top_k` be exported in a form that TensorFlow reads.

  jax 0.10.2 exports it as a composite operation. TensorFlow 2.21 cannot read
  that, and within it shapes stay unknown where a batch is of any size. Here it
  is a sort, with the same result, slower.
  """
  import jax  # Most that this module serves needs no arrays.

  def top_k(operand: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
    places = jax.lax.broadcasted_iota(np.int32, operand.shape, operand.ndim - 1)
    # Stable: of equal values, the earlier is taken.
    descending, places = jax.lax.sort([-operand, places], num_keys=1)
    return -descending[..., :k], places[..., :k]

  if not _exports_composites():
    yield
    return
  with mock.patch.object(jax.lax, 'top_k', top_k):
    yield


@functools.cache
def _exports_composites() -> bool:
  import jax

  try:
    export = importlib.import_module('jax.export')
  except ModuleNotFoundError:  # jax 0.4.26, whose TensorFlow gets no StableHLO.
    return False
  shape = jax.ShapeDtypeStruct((2,), np.float32)
  exported = export.export(jax.jit(lambda x: jax.lax.top_k(x, 1)))(shape)
  return 'composite' in exported.mlir_module()


def dtype(given: Any) -> Any:
  """Returns what is given, a dtype or None, or the dtype of that name.

  TensorFlow 2.9 takes NumPy's name bfloat16 for a type of its own, which JAX
  does not know.
  """
  if not isinstance(given, str):
    return given
  return np.dtype(getattr(ml_dtypes, given, given))


def complete_reads(spec: dict[str, Any]) -> dict[str, Any]:
  """Returns the spec of an array by which a missing part of it is an error.

  TensorStore otherwise reads zeros; older versions cannot be told.

  Args:
    spec: of a zarr array.
  """
  return {**spec, **_missing_is_error()}


@functools.cache
def _missing_is_error() -> dict[str, Any]:
  import tensorstore  # Most that this module serves needs no arrays.

  option = {'fill_missing_data_reads': False}
  try:
    tensorstore.Spec({'driver': 'zarr', 'kvstore': 'memory://', **option})
  except ValueError:
    return {}
  return option
