"""Puts devices into a mesh, whatever its shape.

Pax lets JAX give each mesh axis whole axes of a TPU slice, so that all links of
those serve it alone. On 4x4x4 chips that leaves axes of 1, 4, 16 and 64, and on
8x8x8 there is no data 4 x expert 128. Here JAX does the same where it can, and
splits an axis of the slice where it must: expert 128 is then 8x8x2 chips.

Pax asks an experiment for its `partitioner` in training, evaluation and
decoding, which is how it comes to use these meshes. (In mode 'infer' it does
not ask.)
"""

from collections.abc import Sequence
from typing import Any

import jax
from jax.experimental import mesh_utils
import numpy as np
from paxml import partitioning
from praxis import pax_fiddle
from praxis import py_utils


def create(
    ici: Sequence[int],
    dcn: Sequence[int] | None = None,
    devices: Sequence[Any] | None = None,
) -> np.ndarray:
  """Returns devices as a mesh.

  Args:
    ici: the mesh of one slice.
    dcn: how often it is repeated over slices, along each axis.
    devices: chips of TPUs; None for those that there are.

  Returns:
    Devices, of shape `ici` times `dcn`.

  Raises:
    ValueError: the number of devices or of slices is another.
  """
  if devices is None:
    devices = jax.devices()
    if devices[0].platform != 'tpu':
      return py_utils.create_device_mesh(ici, dcn)
  if dcn is None or max(dcn) == 1:
    return mesh_utils.create_device_mesh(
        ici, devices, allow_split_physical_axes=True
    )
  return mesh_utils.create_hybrid_device_mesh(
      ici, dcn, devices, allow_split_physical_axes=True
  )


def partitioner(task: pax_fiddle.Config) -> partitioning.Partitioner | None:
  """Returns what Pax would make for a task, but with the mesh of `create`.

  Args:
    task: with the mesh in its model; a model without one is left to Pax.
  """
  model = task.model
  if model.ici_mesh_shape is None:
    return None
  return partitioning.PjitPartitioner(
      init_is_eval=False,
      reshard_inputs=True,
      task=task,
      device_mesh=create(model.ici_mesh_shape, model.dcn_mesh_shape),
  )
