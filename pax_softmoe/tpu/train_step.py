"""The train step that Pax runs, to compile and to run without its trainer."""

from collections.abc import Mapping
from collections.abc import Sequence
import math
from typing import Any

import jax
from jax import numpy as jnp
import numpy as np
from pax_softmoe import protocol
from paxml import partitioning
from paxml import train_states
from paxml import trainer_lib
from praxis import py_utils

NestedMap = py_utils.NestedMap
TrainState = train_states.TrainState


class TrainStep:
  """The train step of an experiment, partitioned by Pax over given devices.

  The step is the one that `paxml.main` runs: forward, backward, clipping and
  optimizer, on the experiment's mesh. It is for one process.

  Attributes:
    mesh: the devices, with the names of the mesh axes.
    batch: shapes and dtypes of a batch.
    state: shapes and dtypes of the train state.
  """

  def __init__(
      self, experiment: protocol.Experiment, devices: Sequence[jax.Device]
  ):
    """Prepares the step; nothing is compiled, nor allocated on devices.

    Args:
      experiment: an `ImageClassification`.
      devices: as many as its mesh has, slice by slice. They may be those of a
        topology that can be compiled for only.

    Raises:
      ValueError: the number of devices is another.
    """
    ici = experiment.ici_mesh_shape()
    dcn = tuple(experiment.DCN_MESH_SHAPE or (1, 1, 1, 1))
    needed = math.prod(ici) * math.prod(dcn)
    if needed != len(devices):
      raise ValueError(
          f'{type(experiment).__name__}: a mesh of'
          f' {" x ".join(map(str, experiment.mesh_shape()))} needs {needed}'
          f' devices, got {len(devices)}'
      )
    specs = experiment.get_input_specs_provider_params().Instantiate()
    self.batch = specs.get_input_specs()
    task = experiment.task().Instantiate()
    partitioner = partitioning.PjitPartitioner(
        init_is_eval=False,
        reshard_inputs=False,
        task=task,
        device_mesh=arrange(devices, ici, dcn),
    )
    partitioner.setup(task, jax.random.PRNGKey(0), self.batch)
    self.mesh = partitioner.global_mesh
    metadata = partitioner.get_train_state_metadata()
    self.state = metadata.padded_global_shapes
    self._state_split = metadata.partition_specs
    step, is_eval = partitioning.get_step_fn(partitioning.RunningMode.TRAIN)
    self._step, self._batch_split = partitioner.partition(
        step, self.batch, is_eval
    )
    self._static = trainer_lib.BaseStepFnStaticArgs(
        unpadded_global_batch_size=experiment.TRAIN_BATCH_SIZE
    )

  def compile(
      self, options: Mapping[str, Any] | None = None
  ) -> jax.stages.Compiled:
    """Returns the compiled step, a function of `arguments`.

    Args:
      options: of the compiler, by name.
    """
    return self._step.lower(*self._specs()).compile(options)

  def _specs(self) -> tuple[Any, ...]:
    return (
        jax.tree_util.tree_map(
            _on_mesh, self.state, self._shardings(self._state_split)
        ),
        jax.ShapeDtypeStruct((2,), jnp.uint32),
        jax.tree_util.tree_map(
            _on_mesh, self.batch, self._shardings(self._batch_split)
        ),
        self._static,
    )

  def arguments(self, state: TrainState, key: Any, batch: NestedMap) -> tuple:
    """Returns what the compiled step is called with: arrays on the mesh.

    Args:
      state: like `self.state`.
      key: uint32 [2], the source of random numbers.
      batch: like `self.batch`.

    Returns:
      Arguments of a function that returns the next state and Pax'
      `StepFnOutput`, and that takes the memory of the state it is given.
    """
    everywhere = jax.sharding.NamedSharding(
        self.mesh, jax.sharding.PartitionSpec()
    )
    return (
        jax.device_put(state, self._shardings(self._state_split)),
        jax.device_put(key, everywhere),
        jax.device_put(batch, self._shardings(self._batch_split)),
    )

  def _shardings(self, splits: Any) -> Any:
    return jax.tree_util.tree_map(
        lambda split: jax.sharding.NamedSharding(self.mesh, split), splits
    )


def arrange(
    devices: Sequence[jax.Device], ici: Sequence[int], dcn: Sequence[int]
) -> np.ndarray:
  """Returns devices as a mesh whose axes first go over slices, then in them.

  Args:
    devices: slice by slice.
    ici: the mesh of one slice.
    dcn: how often it is repeated over slices, along each axis.

  Returns:
    Devices, of shape `ici` times `dcn`.
  """
  n = len(ici)
  grid = np.array(devices).reshape(*dcn, *ici)
  grid = grid.transpose(
      [i for pair in zip(range(n), range(n, 2 * n)) for i in pair]
  )
  return grid.reshape([i * d for i, d in zip(ici, dcn)])


def _on_mesh(shape: Any, split: jax.sharding.Sharding) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=split)
