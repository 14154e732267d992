"""Where a model's first weights come from, if not from chance."""

from collections.abc import Mapping
import os
from typing import Any

from pax_softmoe.checkpoints import adapt
from pax_softmoe.checkpoints import big_vision
from pax_softmoe.checkpoints import lazy_array
from pax_softmoe.checkpoints import reading

LazyArray = lazy_array.LazyArray


def find(
    source: str | os.PathLike,
    wanted: Mapping[str, tuple[int, ...]],
    grid: int,
    changes: adapt.Changes,
    *,
    drop_cls: bool = False,
) -> dict[str, LazyArray | None]:
  """Finds for each array of a model what to put into it; reads nothing.

  Args:
    source: the folder of a job, whose last checkpoint is taken, or the `.npz`
      file of a ViT of big_vision.
    wanted: shape of each array of the model, by name.
    grid: patches along a side of the model's images.
    changes: what may be done to the weights.
    drop_cls: see `big_vision.open_npz`.

  Returns:
    See `adapt.adapt`.

  Raises:
    ValueError: there are no weights, or they are of another model.
  """
  return adapt.adapt(
      str(source), _open(source, grid, changes, drop_cls), wanted, changes
  )


def _open(
    source: str | os.PathLike,
    grid: int,
    changes: adapt.Changes,
    drop_cls: bool,
) -> dict[str, Any]:
  if str(source).endswith('.npz'):
    return big_vision.open_npz(
        source, grid, fresh_head=not changes.take_head, drop_cls=drop_cls
    )
  return lazy_array.split_stacks(reading.open_weights(source)[1])
