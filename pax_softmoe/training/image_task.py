"""A Pax task whose weights start from others, and that is evaluated few-shot."""

from collections.abc import Mapping
from typing import Any

from absl import logging
import jax
from pax_softmoe import compat
from pax_softmoe.checkpoints import adapt
from pax_softmoe.checkpoints import lazy_array
from pax_softmoe.checkpoints import warm_start
from pax_softmoe.data.read import fewshot_sets
from paxml import tasks_lib
from praxis import py_utils

NestedMap = py_utils.NestedMap


class ImageTask(tasks_lib.SingleTask):
  """Trains an `ImageClassifier`.

  Pax asks a task to apply its `train.init_from_checkpoint_rules` when a job
  starts without a checkpoint of its own. This one then reads `init_from`, which
  such rules cannot say all of: other positions, other heads, blocks scanned or
  not, files of big_vision. Every device reads its parts.

  Attributes:
    init_from: the folder of a job or of `softmoe import`, or an `.npz` file of
      big_vision; the key of `train.init_from_checkpoint_rules` too, without
      which Pax does not ask.
    init_head: whether to take its head, which then must fit.
    fewshot: see `FewShotPlan`; None for none.
  """

  init_from: str = ''
  init_head: bool = True
  fewshot: fewshot_sets.FewShotPlan | None = None

  def __post_init__(self) -> None:
    compat.keep_dimensions_of_outputs()
    super().__post_init__()

  def apply_init_checkpoint_rules(
      self,
      train_state: Any,
      train_state_provenance: Any,
      train_state_partition_specs: Any = None,
      global_mesh: jax.sharding.Mesh | None = None,
      checkpoint_type: Any = None,
  ) -> tuple[Any, Any, bool]:
    """Puts weights of `init_from` into a new train state.

    Args:
      train_state: with weights on the mesh.
      train_state_provenance: returned as it is.
      train_state_partition_specs: of no use here.
      global_mesh: of no use here.
      checkpoint_type: of no use here.

    Returns:
      The state with other weights, the provenance, and that the optimizer's
      state need not be made again: it starts at zeros, but for a moving average
      of the weights, which starts as they do.

    Raises:
      ValueError: the weights are of another model.
    """
    if not self.init_from:
      return super().apply_init_checkpoint_rules(
          train_state,
          train_state_provenance,
          train_state_partition_specs,
          global_mesh,
          checkpoint_type,
      )
    weights = lazy_array.by_name(train_state.mdl_vars['params'])
    vit = self.model.vit_tpl
    found = warm_start.find(
        self.init_from,
        {name: x.shape for name, x in weights.items()},
        vit.image_size // vit.patch_size,
        adapt.Changes(take_head=self.init_head),
    )
    fresh = [name for name, array in found.items() if array is None]
    logging.info(
        '[PAX STATUS]: Weights start from %s; afresh: %s',
        self.init_from,
        ', '.join(fresh) or 'none',
    )
    train_state = train_state.replace(
        mdl_vars=_read_all(train_state.mdl_vars, found),
        opt_states=[_averages_read(s, found) for s in train_state.opt_states],
    )
    return train_state, train_state_provenance, False


def _averages_read(
    state: tuple[Any, ...], found: Mapping[str, lazy_array.LazyArray | None]
) -> tuple[Any, ...]:
  """Returns the state of an optimizer, its moving average as `_read_all`."""
  return tuple(
      NestedMap(part, ema=_read_all(part['ema'], found))
      if isinstance(part, Mapping) and 'ema' in part
      else part
      for part in state
  )


def _read_all(
    variables: Mapping[str, Any],
    found: Mapping[str, lazy_array.LazyArray | None],
) -> dict[str, Any]:
  """Returns variables of which 'params' are those found; see `_read`."""
  structure = jax.tree_util.tree_structure(variables['params'])
  old = lazy_array.by_name(variables['params'])
  taken = [_read(x, found[name]) for name, x in old.items()]
  params = jax.tree_util.tree_unflatten(structure, taken)
  kind: Any = type(variables)
  return kind({**variables, 'params': params})


def _read(old: jax.Array, array: lazy_array.LazyArray | None) -> jax.Array:
  """Returns an array in the place of another, whose memory it takes."""
  if array is None:
    return old
  sharding, dtype = old.sharding, old.dtype
  old.delete()
  return jax.make_array_from_callback(
      array.shape, sharding, lambda index: array.read(index).astype(dtype)
  )
