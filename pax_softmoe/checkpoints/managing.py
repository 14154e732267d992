"""Pax' checkpoint manager, which writes checksums and restores only what fits.

Pax makes its managers itself, in each mode: `install` puts this one in the place
of its own.
"""

from collections.abc import Iterator
from concurrent import futures
import contextlib
import functools
import itertools
import os
from typing import Any

from etils import epath
import jax
from jax._src import distributed
from jax.experimental import multihost_utils
import numpy as np
import orbax.checkpoint as ocp
from pax_softmoe import compat
from pax_softmoe.checkpoints import checksums
from pax_softmoe.checkpoints import comparing
from pax_softmoe.checkpoints import inspecting
from pax_softmoe.checkpoints import structure
from paxml import checkpoint_managers
from paxml import checkpoint_paths
from paxml import checkpoint_types
from paxml import checkpoints

_saves = itertools.count()
# What of a checkpoint is the place in the data.
_INPUT = 'train_input'
# As long as Pax waits for a save.
_TIMEOUT_SECONDS = 6 * 60 * 60


class CheckedCheckpointManager(checkpoint_managers.OrbaxCheckpointManager):
  """Writes checksums, and stops before it restores what is damaged or another.

  Each process looks at an equal share of the files; if one finds a fault, all
  stop. Nothing is written or removed before.

  Attributes:
    verify: whether to write checksums and to compare them. Without, a
      checkpoint only has to have all of its files.
  """

  verify: bool = True

  def __init__(self, directory: epath.PathLike, *args: Any, **kwargs: Any):
    """Looks at the metadata of every checkpoint, of which Pax reads any.

    Args:
      directory: of all checkpoints of a job.
      *args: see `OrbaxCheckpointManager`.
      **kwargs: too.

    Raises:
      DamageError: they are missing or damaged.
    """
    job_dir = epath.Path(directory).parent
    if kwargs.get('checkpoint_type') == checkpoint_types.CheckpointType.GDA:
      for step in reversed(inspecting.steps(job_dir)):
        folder = inspecting.folder_of(job_dir, step)
        if problem := inspecting.metadata_problem(folder):
          raise inspecting.damage(folder, [problem])
    super().__init__(directory, *args, **kwargs)
    self._write_on_commit(self._manager._checkpointer.handler)

  def restore(
      self,
      step: int,
      train_state: Any,
      train_state_unpadded_shape_dtype_struct: Any = None,
      train_input_pipeline: Any = None,
      restore_kwargs: Any = None,
      **kwargs: Any,
  ) -> Any:
    """Restores a checkpoint, see `OrbaxCheckpointManager`.

    Raises:
      ValueError: it is damaged, or of another job.
    """
    folder = checkpoint_paths.make_checkpoint_step_dir(
        self.directory, step, checkpoint_type=self._checkpoint_type
    )
    if self._checkpoint_type == checkpoint_types.CheckpointType.GDA:
      with _all_or_none():
        self._check_files(folder, train_input_pipeline)
        # Transformations are there to fit what does not.
        if not (restore_kwargs or {}).get('transforms'):
          _check_state(folder, train_state)
    try:
      return super().restore(
          step,
          train_state,
          train_state_unpadded_shape_dtype_struct,
          train_input_pipeline,
          restore_kwargs,
          **kwargs,
      )
    except Exception as error:
      # A checkpoint without checksums may be damaged in what only reading
      # shows.
      if found := inspecting.inspect(folder).problems:
        raise inspecting.damage(folder, found) from error
      raise

  def _check_files(self, folder: epath.Path, train_input: Any) -> None:
    found = inspecting.problems(
        folder, jax.process_index(), jax.process_count(), self.verify
    )
    of_input = [problem for problem in found if problem.startswith(_INPUT)]
    if train_input is None:
      found = [problem for problem in found if problem not in of_input]
    afresh = (
        'or to start the data afresh set'
        ' --fdl=set:task.train.enable_input_checkpointing=False'
    )
    if found:
      error = inspecting.damage(folder, found)
      if found == of_input:
        raise inspecting.DamageError(f'{error}; {afresh}')
      raise error
    if train_input is None:
      return
    count = jax.process_count()
    states = folder / _INPUT
    have = sorted(p.name for p in states.iterdir()) if states.is_dir() else []
    if f'process_{jax.process_index()}-of-{count}' in have:
      return
    if have:
      raise ValueError(
          f'{states} has the place in the data of other processes'
          f' ({", ".join(have[:3])}), and this job has {count}; give it as many'
          f' as before, {afresh}'
      )
    missing = inspecting.damage(folder, ['train_input is missing'])
    raise inspecting.DamageError(f'{missing}; {afresh}')

  def _write_on_commit(self, handler: Any) -> None:
    """Makes a handler of orbax write checksums before it is done.

    A checkpoint gets its final name after the handler's `finalize`, which one
    process calls when all have written their parts.

    Args:
      handler: of all items of a checkpoint.
    """
    async_save, finalize = handler.async_save, handler.finalize

    async def save(folder: epath.Path, *args: Any, **kwargs: Any) -> list[Any]:
      done = list(await async_save(folder, *args, **kwargs) or ())
      if self.verify and jax.process_count() > 1:
        done.append(_Share(folder))
      return done

    def finish(folder: epath.Path) -> None:
      finalize(folder)
      if self.verify:
        checksums.complete(folder)

    handler.async_save, handler.finalize = save, finish


@contextlib.contextmanager
def _all_or_none() -> Iterator[None]:
  """Raises in every process if what is done raises ValueError in one."""
  fault = None
  try:
    yield
  except ValueError as error:
    fault = error
  if jax.process_count() > 1:
    faults = multihost_utils.process_allgather(np.array(fault is not None))
    if faults.any() and fault is None:
      fault = inspecting.DamageError(
          f'process {int(np.argmax(faults))} cannot restore the checkpoint; see'
          ' the reason in its log'
      )
  if fault is not None:
    raise fault


def arrays_of(train_state: Any) -> dict[str, tuple[tuple[int, ...], str]]:
  """Returns shape and dtype of each array of a train state by file name."""
  arrays, names, _ = checkpoints._tensorstore_prepare(train_state)
  return {
      name: (tuple(array.shape), np.dtype(array.dtype).name)
      for name, array in zip(names, arrays)
  }


def _check_state(folder: epath.Path, train_state: Any) -> None:
  """Raises ValueError if a train state is another than that of a checkpoint."""
  if structure.is_ocdbt(folder):
    return
  found = [p.name for p in (folder / 'state').iterdir() if p.is_dir()]
  read = functools.partial(structure.array_of, folder)
  try:
    with futures.ThreadPoolExecutor() as pool:
      have = dict(zip(found, pool.map(read, found)))
    comparing.check_state(have, arrays_of(train_state))
  except inspecting.DamageError as error:
    raise inspecting.damage(folder, [str(error)]) from error
  except ValueError as error:
    raise ValueError(
        f'the checkpoint {folder} does not fit: {error}, or choose another'
        ' folder with --job_dir'
    ) from error


class _Share:
  """The checksums of one process' share of a checkpoint, a future of orbax."""

  def __init__(self, directory: os.PathLike):
    self._directory = directory
    self._key = f'pax_softmoe_checksums_{next(_saves)}'

  def result(self, timeout: int | None = None) -> None:
    """Waits for the files of all processes, and writes the checksums."""
    # Saves that go on beside the steps must not use the accelerators to wait.
    client = distributed.global_state.client
    if client is None:
      multihost_utils.sync_global_devices(self._key)
    else:
      client.wait_at_barrier(self._key, 1000 * (timeout or _TIMEOUT_SECONDS))
    checksums.share(self._directory, jax.process_index(), jax.process_count())


class _ArrayHandler(ocp.type_handlers.ArrayHandler):
  """Refuses to read zeros in the place of a part that is missing."""

  def _get_json_tspec_read(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
    spec = super()._get_json_tspec_read(*args, **kwargs)
    return compat.complete_reads(spec)


def install() -> None:
  """Makes Pax use `CheckedCheckpointManager`, for all jobs of the process."""
  checkpoint_managers.OrbaxCheckpointManager = CheckedCheckpointManager
  handlers = ocp.type_handlers
  handlers.register_type_handler(jax.Array, _ArrayHandler(), override=True)
