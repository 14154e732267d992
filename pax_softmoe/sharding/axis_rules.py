"""Where arrays live: mesh axes, and one table from einsum letters to them.

The mesh has four axes. `replica` is the slowest and also spans slices (DCN);
`mdl` is the fastest.

    replica  x  data  x  expert  x  mdl
    copies of   more     experts,    hidden dims and
    the model   batch    and batch   attention heads

Every array is named by its einsum letters, and a letter has one rule for where
it goes. Letters:

  b batch, n tokens, d model dims, e experts, p slots per expert, h hidden dims,
  a attention heads, k dims per head, c classes, x pixels of a patch.

Expert parallelism is the meeting of two rules: the batch is split over
`(replica, data, expert)`, experts over `expert`. The tokens `bnd` therefore
hold all three axes on `b`; the experts' `ebpd` needs `expert` for `e`, which
leaves `(replica, data)` for `b`. Going from one to the other is one all-to-all
within each group of `expert`, and nothing else moves.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import math
from typing import Any

MESH_AXES = ('replica', 'data', 'expert', 'mdl')
BATCH_AXES = ('replica', 'data', 'expert')

Axes = tuple[str, ...]
# What Praxis calls SplitDimsMapping: per dimension None, an axis or a tuple.
SplitDims = tuple[Axes | str | None, ...]

_LETTERS = 'bndephakcx'


@dataclasses.dataclass(frozen=True)
class ShardingRules:
  """Mesh axes by einsum letter, for three kinds of arrays.

  Attributes:
    activations: letters of activations.
    expert_weights: letters of the experts' weights (`edh`, `ehd`, `eh`, `ed`).
    dense_weights: letters of all other weights.
  """

  activations: Mapping[str, Axes]
  expert_weights: Mapping[str, Axes]
  dense_weights: Mapping[str, Axes]

  def activation(self, letters: str) -> SplitDims:
    """Returns how an activation with these letters is split."""
    return _split(letters, self.activations)

  def expert_weight(self, letters: str) -> SplitDims:
    """Returns how an expert weight with these letters is split."""
    return _split(letters, self.expert_weights)

  def dense_weight(self, letters: str) -> SplitDims:
    """Returns how a weight outside the experts is split."""
    return _split(letters, self.dense_weights)

  def has_idle_axis(self, mesh_shape: Sequence[int]) -> bool:
    """Returns whether devices along some mesh axis would do the same work."""
    working = {axis for l in 'bh' for axis in self.activations.get(l, ())}
    return any(
        size > 1 and axis not in working
        for axis, size in zip(MESH_AXES, mesh_shape)
    )

  def override(
      self, changes: Mapping[str, Axes | str | None]
  ) -> 'ShardingRules':
    """Returns these rules with single letters changed.

    Args:
      changes: from 'kind.letter' (as 'expert_weights.h') to a mesh axis, a
        tuple of them, or None for not split.

    Raises:
      ValueError: a kind, letter or mesh axis does not exist, or an axis is
        named twice.
    """
    kinds = {
        f.name: dict(getattr(self, f.name)) for f in dataclasses.fields(self)
    }
    for key, axes in changes.items():
      kind, _, letter = key.partition('.')
      if kind not in kinds or len(letter) != 1 or letter not in _LETTERS:
        raise ValueError(
            f'sharding override {key!r}: expected KIND.LETTER with KIND one of'
            f' {", ".join(kinds)} and LETTER one of {", ".join(_LETTERS)}'
        )
      axes = (axes,) if isinstance(axes, str) else tuple(axes or ())
      unknown = [axis for axis in axes if axis not in MESH_AXES]
      if unknown:
        raise ValueError(
            f'sharding override {key!r}: no mesh axis {unknown[0]!r}; use'
            f' {", ".join(MESH_AXES)}'
        )
      if len(set(axes)) < len(axes):
        raise ValueError(
            f'sharding override {key!r}: {axes} has a mesh axis twice; name'
            ' each once'
        )
      kinds[kind][letter] = axes
    return ShardingRules(**kinds)


def _split(letters: str, rules: Mapping[str, Axes]) -> SplitDims:
  """Returns one entry per letter.

  A mesh axis can split only one dimension of an array. Hidden dims and heads
  take theirs first, the other letters in the order they stand in: experts
  before the batch in `ebpd`, the batch before experts in `bnep`, whose tokens
  are where the batch is.
  """
  taken = set()
  entries = {}
  for letter in sorted(letters, key=lambda l: l not in 'ha'):
    axes = tuple(a for a in rules.get(letter, ()) if a not in taken)
    taken.update(axes)
    entries[letter] = axes[0] if len(axes) == 1 else axes or None
  return tuple(entries[letter] for letter in letters)


_EXPERT_PARALLEL = ShardingRules(
    activations={'b': BATCH_AXES, 'e': ('expert',)},
    expert_weights={'e': ('expert',)},
    dense_weights={},
)

PRESETS: Mapping[str, ShardingRules] = {
    # Experts over `expert`, all else replicated: the official layout.
    'expert_parallel': _EXPERT_PARALLEL,
    # The same, with expert weights and their optimizer state also over `data`.
    'expert_parallel_zero': _EXPERT_PARALLEL.override(
        {'expert_weights.h': 'data'}
    ),
    # Expert parallel, and dense weights split over data x expert.
    'fsdp_dense': _EXPERT_PARALLEL.override(
        {'dense_weights.d': ('data', 'expert')}
    ),
    # Hidden dims and heads over `mdl`, and the batch too: with the batch whole
    # on `mdl`, every member of that axis would exchange the same tokens. The
    # last place of `mdl` keeps gathers over it simple; slots pay for it with a
    # permutation beside each exchange.
    'expert_model_parallel': ShardingRules(
        activations={
            'b': BATCH_AXES + ('mdl',),
            'e': ('expert',),
            'h': ('mdl',),
            'a': ('mdl',),
        },
        expert_weights={'e': ('expert',), 'h': ('mdl',)},
        dense_weights={'h': ('mdl',), 'a': ('mdl',)},
    ),
    # Every device holds all weights and its share of the batch.
    'replicated': ShardingRules(
        activations={'b': BATCH_AXES}, expert_weights={}, dense_weights={}
    ),
}


def preset(name: str) -> ShardingRules:
  """Returns the rules of that name.

  Raises:
    ValueError: there is no such preset.
  """
  if name not in PRESETS:
    raise ValueError(
        f'no sharding preset {name!r}; use one of {", ".join(PRESETS)}'
    )
  return PRESETS[name]


def default_mesh_shape(num_devices: int, num_experts: int) -> tuple[int, ...]:
  """Returns the mesh for `num_devices` with as wide an expert axis as fits.

  Args:
    num_devices: chips in all.
    num_experts: experts of each MoE layer; 1 for a dense model.

  Returns:
    (replica, data, expert, mdl) with all that `expert` cannot use on `data`.
  """
  expert = max(
      n
      for n in range(1, num_devices + 1)
      if num_devices % n == 0 and num_experts % n == 0
  )
  return (1, num_devices // expert, expert, 1)


def axis_size(mesh_shape: Sequence[int], axes: Axes | str | None) -> int:
  """Returns in how many parts `axes` split a dimension on that mesh."""
  size = 1
  for axis in (axes,) if isinstance(axes, str) else axes or ():
    size *= mesh_shape[MESH_AXES.index(axis)]
  return size


@dataclasses.dataclass(frozen=True)
class Array:
  """One array and its place.

  Attributes:
    name: as in checkpoints; of an activation, where it is and what it is.
    shape: of the whole array.
    split: per dimension None, a mesh axis, or a tuple of them.
    itemsize: bytes of one number.
    mesh: sizes of the mesh axes.
  """

  name: str
  shape: tuple[int, ...]
  split: tuple[Any, ...]
  itemsize: int
  mesh: tuple[int, ...]

  @property
  def bytes_per_device(self) -> int:
    """Bytes on each device, padded up where a split does not divide."""
    parts = (axis_size(self.mesh, axes) for axes in self.split)
    sizes = (-(-size // part) for size, part in zip(self.shape, parts))
    return math.prod(sizes) * self.itemsize

  def split_text(self) -> str:
    """Returns the split for people; '-' for an unsplit dimension."""
    if not any(self.split):
      return 'replicated'
    return ', '.join(
        '-' if not axes else axes if isinstance(axes, str) else '+'.join(axes)
        for axes in self.split
    )

  def as_dict(self) -> dict[str, Any]:
    """Returns all of it for JSON."""
    return {
        **dataclasses.asdict(self),
        'bytes_per_device': self.bytes_per_device,
    }
