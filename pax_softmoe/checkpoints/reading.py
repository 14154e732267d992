"""Reads the weights of a model from a Pax checkpoint, and nothing else.

Of a job with EMA_DECAY those are the moving average of its weights. What is
read is compared with its checksums, if the checkpoint has some, and a part of
an array that is missing is an error: TensorStore would read zeros.
"""

from concurrent import futures
import itertools
import os
import re

from etils import epath
import jax
import numpy as np
from pax_softmoe import compat
from pax_softmoe import protocol
from pax_softmoe.checkpoints import checksums
from pax_softmoe.checkpoints import comparing
from pax_softmoe.checkpoints import inspecting
from pax_softmoe.checkpoints import lazy_array
from pax_softmoe.checkpoints import structure
from pax_softmoe.model_size import counts
from praxis import py_utils
import tensorstore

NestedMap = py_utils.NestedMap
steps = inspecting.steps

_WEIGHTS = re.compile(r'mdl_vars\.params\.(.*)')
_AVERAGE = re.compile(r'opt_states_\d+_\d+\.ema\.params\.(.*)')


def open_weights(
    job_dir: os.PathLike, step: int | None = None
) -> tuple[int, NestedMap]:
  """Finds the weights that a job saved, averaged if it averages them.

  No numbers are read yet.

  Args:
    job_dir: the job_log_dir of the job.
    step: which checkpoint; None for the last.

  Returns:
    The step, and the tree of weights as `lazy_array.LazyArray`s. Reading one
    raises `inspecting.DamageError` if what is read is not what was written.

  Raises:
    ValueError: there is no such checkpoint, or it is damaged.
  """
  step = inspecting.find(job_dir, step)
  checkpoint = _Checkpoint(inspecting.folder_of(job_dir, step))
  # All at once: on network storage, opening takes longer than reading.
  with futures.ThreadPoolExecutor() as pool:
    opened = {
        name: pool.submit(checkpoint.open, file)
        for name, file in checkpoint.names.items()
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
    ValueError: there is no such checkpoint, or it is damaged.
  """
  step = inspecting.find(job_dir, step)
  checkpoint = _Checkpoint(inspecting.folder_of(job_dir, step))
  return all(_AVERAGE.fullmatch(file) for file in checkpoint.names.values())


class _Checkpoint:
  """The weights in one checkpoint.

  Attributes:
    names: the folder of each weight by name.
  """

  def __init__(self, folder: epath.Path):
    self._folder = folder
    self._whole = set()
    if problem := inspecting.folder_problem(folder):
      raise inspecting.damage(folder, [problem])
    try:
      self._entries = checksums.read(folder)
      self.names = self._find_names()
    except inspecting.DamageError as error:
      raise inspecting.damage(folder, [str(error)]) from error

  def _find_names(self) -> dict[str, str]:
    state = self._folder / 'state'
    if not state.is_dir():
      raise inspecting.DamageError('state is missing')
    files = {p.name for p in state.iterdir()}
    # What should be there, whether it is or not.
    if self._entries is not None:
      files |= {name.split('/')[1] for name in self._entries if '/' in name}
    elif (self._folder / 'metadata').is_dir() and not structure.is_ocdbt(
        self._folder
    ):
      files |= set(structure.weights_of_metadata(self._folder))
    weights, averages = (
        {m[1]: m[0] for m in map(pattern.fullmatch, sorted(files)) if m}
        for pattern in (_WEIGHTS, _AVERAGE)
    )
    if missing := sorted(weights.keys() - averages.keys()) if averages else ():
      some = next(iter(averages.values())).partition('.ema.')[0]
      name = f'state/{some}.ema.params.{missing[0]}'
      raise inspecting.DamageError(f'{name} is missing')
    if not weights:
      raise ValueError(
          f'{state} holds no single arrays, as in the OCDBT format, which'
          ' cannot be read; save without it'
      )
    return averages or weights

  def open(self, name: str) -> lazy_array.LazyArray:
    """Returns one array, of which no numbers are read yet."""
    self._check(f'state/{name}/.zarray')
    spec = structure.tensorstore_spec(self._folder / 'state' / name)
    try:
      array = tensorstore.open(compat.complete_reads(spec), open=True).result()
    except ValueError as error:
      problem = f'state/{name}/.zarray is damaged'
      raise inspecting.damage(self._folder, [problem]) from error
    grid = array.chunk_layout.read_chunk.shape or ()  # None of a scalar.
    separator = array.spec().to_json()['metadata']['dimension_separator']

    def read(index: lazy_array.Index) -> np.ndarray:
      numbers = array[index].read()
      ranges = (
          range(start // c, -(-stop // c))
          for c, (start, stop, _) in zip(
              grid, map(slice.indices, index, array.shape)
          )
      )
      for part in itertools.product(*ranges):
        file = separator.join(map(str, part)) or '0'
        self._check(f'state/{name}/{file}')
      try:
        return numbers.result()
      except ValueError as error:
        problem = f'state/{name} cannot be read'
        raise inspecting.damage(self._folder, [problem]) from error

    return lazy_array.LazyArray(name, tuple(array.shape), read)

  def _check(self, file: str) -> None:
    """Raises `inspecting.DamageError` if a file is missing or changed."""
    if file in self._whole:
      return
    if self._entries is not None:
      problem = checksums.problem(self._folder, file, self._entries)
    else:
      exists = (self._folder / file).exists()
      problem = None if exists else f'{file} is missing'
    if problem:
      raise inspecting.damage(self._folder, [problem])
    self._whole.add(file)


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
    ValueError: there is no such checkpoint, or it is damaged.
  """
  step, arrays = open_weights(job_dir, step)
  if shardings is None:
    return step, jax.tree_util.tree_map(lambda x: x.whole(), arrays)
  return step, jax.tree_util.tree_map(_read_parts, arrays, shardings)


def _read_parts(
    array: lazy_array.LazyArray, sharding: jax.sharding.Sharding
) -> jax.Array:
  return jax.make_array_from_callback(array.shape, sharding, array.read)


def check_fits(
    job_dir: os.PathLike,
    experiment: protocol.Experiment,
    step: int | None = None,
) -> None:
  """Checks that an experiment can take the weights of a checkpoint, by shapes.

  Args:
    job_dir: the job_log_dir of the job.
    experiment: an `ImageClassification`.
    step: which checkpoint; None for the last.

  Raises:
    ValueError: it cannot, or there is no such checkpoint.
  """
  arrays = lazy_array.by_name(open_weights(job_dir, step)[1])
  comparing.check_weights(
      {name: array.shape for name, array in arrays.items()},
      counts.weight_shapes(experiment),
  )
