"""Writes weights as Pax' own checkpoints."""

from collections.abc import Mapping
import os
from typing import Any

from etils import epath
import jax
from jax import numpy as jnp
from pax_softmoe.checkpoints import lazy_array
from pax_softmoe.checkpoints import managing
from paxml import checkpoint_types
from paxml import checkpoints
from paxml import train_states
from praxis import base_layer
from praxis import py_utils

NestedMap = py_utils.NestedMap


def write(
    job_dir: os.PathLike,
    wanted: NestedMap,
    arrays: Mapping[str, lazy_array.LazyArray | None],
    seed: int,
) -> None:
  """Writes a checkpoint of step 0 that holds weights and no optimizer state.

  Pax' `init_from_checkpoint_rules` can start from it, and so can INIT_FROM.

  Args:
    job_dir: a folder without checkpoints.
    wanted: the tree of `WeightHParams` of the model.
    arrays: from `adapt.adapt`; the model's own start is drawn where it is None.
    seed: of that.
  """
  weights = NestedMap()
  # The whole model is more than the memory of one accelerator.
  with jax.default_device(jax.local_devices(backend='cpu')[0]):
    keys = jax.random.split(jax.random.PRNGKey(seed), len(arrays))
    for key, (name, w) in zip(keys, lazy_array.by_name(wanted).items()):
      array = arrays[name]
      value = _draw(w, key, name) if array is None else array.whole()
      weights.Set(name.replace('/', '.'), jnp.asarray(value, w.dtype))
    step = jnp.zeros([], jnp.uint32)
  state = train_states.TrainState(
      step=step, mdl_vars={'params': weights}, opt_states=[]
  )
  managing.install()
  checkpoints.save_checkpoint(
      state,
      epath.Path(job_dir) / 'checkpoints',
      checkpoint_type=checkpoint_types.CheckpointType.GDA,
  )


def _draw(w: base_layer.WeightHParams, key: Any, name: str) -> jax.Array:
  """Returns the start of one array, its layers independent of each other."""
  single = base_layer.WeightHParams(shape=w.shape, init=w.init, dtype=w.dtype)
  if not w.repeat_prefix:
    return base_layer.init_var(single, key, name)
  (layers,) = w.repeat_prefix
  keys = jax.random.split(key, layers)
  return jnp.stack([base_layer.init_var(single, k, name) for k in keys])
