"""The points that tuning may try: all of them can run, no two are the same."""

from collections.abc import Sequence
import dataclasses
import math
from typing import Any

from pax_softmoe.layers import remat_policies
from pax_softmoe.sharding import axis_rules
from pax_softmoe.sharding import fits
from pax_softmoe.tpu import flags
from pax_softmoe.tpu import hardware

DEFAULT_IMAGES_PER_CHIP = (16, 32, 64)
DEFAULT_COMPILER_FLAGS = 'overlap'

_KINDS = ('activations', 'expert_weights', 'dense_weights')


@dataclasses.dataclass(frozen=True)
class Point:
  """What tuning changes of an experiment.

  Attributes:
    mesh: (replica, data, expert, mdl).
    preset: of `sharding.PRESETS`, maybe with overrides of single letters, as
      'fsdp_dense+expert_weights.h=data'.
    remat: of `remat_policies.POLICIES`.
    images_per_chip: of a training batch.
    first_moment: dtype in which Adam keeps it; None for the experiment's own.
    compiler_flags: a name of `flags.SETS`.
    exchange_parts: of a batch, in MoE layers.
  """

  mesh: tuple[int, ...]
  preset: str
  remat: str
  images_per_chip: int
  first_moment: str | None = None
  compiler_flags: str = DEFAULT_COMPILER_FLAGS
  exchange_parts: int = 1

  @property
  def chips(self) -> int:
    return math.prod(self.mesh)

  def settings(self) -> dict[str, Any]:
    """Returns the settings of an experiment that make it this point."""
    batch = self.images_per_chip * self.chips
    settings = {
        'ICI_MESH_SHAPE': self.mesh,
        **preset_settings(self.preset),
        'REMAT': self.remat,
        'TRAIN_BATCH_SIZE': batch,
        'EVAL_BATCH_SIZE': batch,
    }
    if self.remat == 'none':
      # A scan copies what is kept of each block, and this keeps everything.
      settings['SCAN_LAYERS'] = False
    if self.exchange_parts != 1:
      settings['EXCHANGE_PARTS'] = self.exchange_parts
    if self.first_moment:
      settings['FIRST_MOMENT_DTYPE'] = self.first_moment
    return settings


@dataclasses.dataclass(frozen=True)
class Space:
  """Which values to combine; None for all that the experiment can have.

  Attributes:
    slice_name: a key of `hardware.SLICES`.
    meshes: (replica, data, expert, mdl) of each.
    presets: see `Point`.
    remats: see `Point`.
    images_per_chip: see `Point`.
    first_moments: see `Point`.
    compiler_flags: see `Point`.
    exchange_parts: see `Point`.
  """

  slice_name: str
  meshes: Sequence[tuple[int, ...]] | None = None
  presets: Sequence[str] | None = None
  remats: Sequence[str] | None = None
  images_per_chip: Sequence[int] = DEFAULT_IMAGES_PER_CHIP
  first_moments: Sequence[str | None] = (None,)
  compiler_flags: Sequence[str] = (DEFAULT_COMPILER_FLAGS,)
  exchange_parts: Sequence[int] = (1,)


def preset_settings(text: str) -> dict[str, Any]:
  """Returns the settings that stand for a preset with overrides.

  Args:
    text: 'NAME' or 'NAME+KIND.LETTER=AXIS', where AXIS may be several, joined
      by '/', or nothing, and further overrides may follow.

  Raises:
    ValueError: there is no such preset, kind, letter or axis.
  """
  name, *changes = text.split('+')
  rules = axis_rules.preset(name)
  overrides = {}
  for change in changes:
    key, _, axes = change.partition('=')
    overrides[key] = tuple(a for a in axes.split('/') if a)
  rules.override(overrides)
  return {'SHARDING': name} | (
      {'SHARDING_OVERRIDES': overrides} if overrides else {}
  )


def points(experiment: type, space: Space) -> list[Point]:
  """Returns all points of a space that the experiment can run.

  Left out are meshes that do not divide the experiment, axes that would do the
  same work twice, and all but one of points that place every array alike.

  Args:
    experiment: a class of `ImageClassification`.
    space: values to combine.

  Raises:
    ValueError: a value does not exist, or a mesh is not for this slice.
  """
  chips = hardware.find_slice(space.slice_name).devices
  is_dense = experiment().num_moe_layers() == 0
  remats = space.remats or [
      name
      for name in remat_policies.POLICIES
      # Without experts nothing is exchanged: the same as 'full'.
      if not (is_dense and name == 'exchange')
  ]
  for remat in remats:
    remat_policies.find(remat)
  for name in space.compiler_flags:
    flags.find(name)
  for mesh in space.meshes or ():
    check_mesh(space.slice_name, mesh)
  meshes = space.meshes or list(fits.meshes(chips))
  found, seen = [], set()
  for preset in space.presets or axis_rules.PRESETS:
    changed = experiment.with_settings(**preset_settings(preset))
    rules = changed().sharding_rules()
    for images in space.images_per_chip:
      batch = images * chips
      sized = changed.with_settings(
          TRAIN_BATCH_SIZE=batch, EVAL_BATCH_SIZE=batch
      )()
      for mesh in meshes:
        placed = (images, _placement(rules, mesh, is_dense))
        if (
            placed in seen
            or rules.has_idle_axis(mesh)
            or fits.mesh_problem(sized, mesh)
        ):
          continue
        seen.add(placed)
        found.extend(
            Point(tuple(mesh), preset, remat, images, first_moment, name, parts)
            for remat in remats
            for first_moment in space.first_moments
            for name in space.compiler_flags
            for parts in space.exchange_parts
            if images % parts == 0
        )
  return found


def check_mesh(slice_name: str, mesh: Sequence[int]) -> None:
  """Raises ValueError if that mesh is not for this slice."""
  chips = hardware.find_slice(slice_name).devices
  if len(mesh) != len(axis_rules.MESH_AXES) or math.prod(mesh) != chips:
    raise ValueError(
        f'mesh {" x ".join(map(str, mesh))}: a {slice_name} needs a size for'
        f' each of {", ".join(axis_rules.MESH_AXES)} whose product is {chips}'
    )


def _placement(
    rules: axis_rules.ShardingRules, mesh: Sequence[int], is_dense: bool
) -> frozenset[Any]:
  """Returns what tells whether two points place every array alike.

  An axis is known by the letters that it splits: two that split the same act
  as one of their product, and one of size 1 as none.
  """
  sizes = {}
  for axis, size in zip(axis_rules.MESH_AXES, mesh):
    letters = frozenset(
        (kind, letter)
        for kind in _KINDS
        for letter, axes in getattr(rules, kind).items()
        if axis in axes
        and not (is_dense and (kind == 'expert_weights' or letter == 'e'))
    )
    if size > 1:
      sizes[letters] = sizes.get(letters, 1) * size
  return frozenset(sizes.items())
