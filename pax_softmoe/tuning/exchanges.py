"""What chips exchange in a step, by arithmetic."""

from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import numpy as np
from pax_softmoe.hlo import collectives
from pax_softmoe.sharding import axis_rules
from pax_softmoe.tuning import placed


def expected(at: placed.Placed) -> Iterator[collectives.Collective]:
  """Yields what chips exchange: slots, tokens, and then weights."""
  of = at.experiment
  # What is not kept is exchanged once more.
  again = 1 if of.REMAT in ('full', 'exchange') else 0
  experts = at.axes(at.rules.activations, 'e')
  tensor = at.axes(at.rules.activations, 'ha')
  dims = of.MODEL_DIMS * at.itemsize
  # Tokens to experts and back, their gradients, and once more if forgotten.
  if of.num_moe_layers() and experts:
    count = of.num_moe_layers() * (6 if of.REMAT == 'full' else 4)
    size = at.images * at.slots * dims
    yield _collective(at, 'all-to-all', experts, count, size)
  # Around attention and MLP, tokens of chips that share their weights.
  if tensor:
    size = at.images * at.tokens * dims * at.parts(tensor)
    for kind in ('all-gather', 'reduce-scatter'):
      count = 2 * of.NUM_LAYERS * (2 + again)
      yield _collective(at, kind, tensor, count, size)
  yield from _of_weights(at, again, experts, tensor)


def _of_weights(
    at: placed.Placed, again: int, experts: Sequence[str], tensor: Sequence[str]
) -> Iterator[collectives.Collective]:
  """Yields gathers of weights, and sums of their gradients."""
  layers = at.experiment.NUM_LAYERS
  batch = at.axes(at.rules.activations, 'b')
  totals = {}
  for array in at.weights:
    axes = {a for split in array.split for a in _as_axes(split)}
    is_expert = '/experts/' in array.name
    stays = set(experts if is_expert else ()) | set(tensor)
    gathered = tuple(a for a in batch if a in axes and a not in stays)
    summed = tuple(a for a in batch if a not in axes)
    narrow = array.bytes_per_device / array.itemsize * at.itemsize
    whole = narrow * at.parts(gathered)
    for kind, over, count, amount in (
        ('all-gather', gathered, 2 + again, whole),
        ('reduce-scatter', gathered, 1, whole),
        ('all-reduce', summed, 1, narrow),
    ):
      if over:
        key = kind, over, count
        totals[key] = totals.get(key, 0) + amount
  for (kind, over, count), amount in totals.items():
    yield _collective(at, kind, over, count * layers, amount / layers)


def _collective(
    at: placed.Placed, kind: str, axes: Sequence[str], count: int, size: float
) -> collectives.Collective:
  return collectives.Collective(
      kind=kind,
      opcode=kind,
      name='+'.join(axes),
      count=count,
      bytes=round(size),
      dtype='',
      source_dtype='',
      groups=_groups(at.point.mesh, axes),
  )


def _as_axes(split: Any) -> Sequence[str]:
  return (split,) if isinstance(split, str) else split or ()


def _groups(
    mesh: Sequence[int], axes: Sequence[str]
) -> tuple[tuple[int, ...], ...]:
  """Returns the places of a mesh that differ in nothing but those axes."""
  chosen = [axis_rules.MESH_AXES.index(axis) for axis in axes]
  others = [i for i in range(len(mesh)) if i not in chosen]
  places = np.arange(np.prod(mesh)).reshape(mesh).transpose(others + chosen)
  size = axis_rules.axis_size(mesh, tuple(axes))
  return tuple(tuple(group.tolist()) for group in places.reshape(-1, size))
