"""Reads the weights of a model from a Pax checkpoint, and nothing else.

Of a job with EMA_DECAY those are the moving average of its weights.
"""

import os
import re
from typing import Any

from etils import epath
import jax
from jax.experimental.array_serialization import serialization
from pax_softmoe.analysis import model_size
from pax_softmoe.checkpoints import convert
from praxis import py_utils
import tensorstore

NestedMap = py_utils.NestedMap

_STEP = re.compile(r'checkpoint_(\d+)')
_WEIGHTS = re.compile(r'mdl_vars\.params\.(.*)')
_AVERAGE = re.compile(r'opt_states_\d+_\d+\.ema\.params\.(.*)')


def steps(job_dir: os.PathLike) -> list[int]:
  """Returns the steps of all finished checkpoints of a job, ascending."""
  folder = epath.Path(job_dir) / 'checkpoints'
  names = [p.name for p in folder.iterdir()] if folder.exists() else []
  matches = (_STEP.fullmatch(name) for name in names)
  return sorted(int(match[1]) for match in matches if match)


def open_weights(
    job_dir: os.PathLike, step: int | None = None
) -> tuple[int, NestedMap]:
  """Finds the weights that a job saved, averaged if it averages them.

  No numbers are read yet.

  Args:
    job_dir: the job_log_dir of the job.
    step: which checkpoint; None for the last.

  Returns:
    The step, and the tree of weights as `tensorstore.TensorStore`s, whose
    slices are read one by one.

  Raises:
    ValueError: there is no such checkpoint.
  """
  step, folder, names = _find(job_dir, step)
  # All at once: on network storage, opening takes longer than reading.
  opened = {
      name: tensorstore.open(
          serialization.get_tensorstore_spec(str(folder / file)), open=True
      )
      for name, file in names.items()
  }
  weights = NestedMap()
  for name, array in opened.items():
    weights.Set(name, array.result())
  return step, weights


def is_average(job_dir: os.PathLike, step: int | None = None) -> bool:
  """Returns whether the weights of a checkpoint are a moving average.

  Args:
    job_dir: the job_log_dir of the job.
    step: which checkpoint; None for the last.

  Raises:
    ValueError: there is no such checkpoint.
  """
  _, _, names = _find(job_dir, step)
  return all(_AVERAGE.fullmatch(file) for file in names.values())


def _find(
    job_dir: os.PathLike, step: int | None
) -> tuple[int, epath.Path, dict[str, str]]:
  """Returns the step, its folder, and the file of each weight by name."""
  found = steps(job_dir)
  if not found:
    raise ValueError(f'{job_dir} holds no finished checkpoint; train first')
  if step is None:
    step = found[-1]
  if step not in found:
    raise ValueError(
        f'{job_dir} holds no checkpoint of step {step}; it has'
        f' {", ".join(map(str, found))}'
    )
  folder = epath.Path(job_dir) / 'checkpoints' / f'checkpoint_{step:08d}'
  folder = folder / 'state'
  files = sorted(p.name for p in folder.iterdir())
  for pattern in (_AVERAGE, _WEIGHTS):
    matches = [m for m in map(pattern.fullmatch, files) if m]
    if matches:
      return step, folder, {m[1]: m[0] for m in matches}
  raise ValueError(
      f'{folder} holds no single arrays; checkpoints in the OCDBT format cannot'
      ' be read'
  )


def read_weights(
    job_dir: os.PathLike,
    step: int | None = None,
    shardings: NestedMap | None = None,
) -> tuple[int, NestedMap]:
  """Reads the weights that a job saved, averaged if it averages them.

  Reads array by array.

  Args:
    job_dir: the job_log_dir of the job.
    step: which checkpoint; None for the last.
    shardings: the same tree of `jax.sharding.Sharding`s. Each device then gets
      its part, and nobody the whole. None reads into memory of the host.

  Returns:
    The step, and the tree of weights, jax.Arrays or NumPy arrays.

  Raises:
    ValueError: there is no such checkpoint.
  """
  step, arrays = open_weights(job_dir, step)
  if shardings is None:
    return step, jax.tree_util.tree_map(lambda x: x.read().result(), arrays)
  return step, jax.tree_util.tree_map(_read_parts, arrays, shardings)


def _read_parts(array: Any, sharding: jax.sharding.Sharding) -> jax.Array:
  return jax.make_array_from_callback(
      tuple(array.shape), sharding, lambda index: array[index].read().result()
  )


def check_fits(
    job_dir: os.PathLike, experiment: Any, step: int | None = None
) -> None:
  """Checks that an experiment can go on from a checkpoint, by shapes alone.

  Pax refuses others too, with a message of many thousand letters.

  Args:
    job_dir: the job_log_dir of the job.
    experiment: an `ImageClassification`.
    step: which checkpoint; None for the last.

  Raises:
    ValueError: it cannot, or there is no such checkpoint.
  """
  wanted = model_size.abstract_weights(experiment)
  wanted = jax.tree_util.tree_map(
      lambda w: jax.ShapeDtypeStruct(w.full_shape, w.dtype.dtype), wanted
  )
  convert.check_shapes(open_weights(job_dir, step)[1], wanted)
