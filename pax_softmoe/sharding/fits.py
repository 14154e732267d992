"""Which meshes an experiment can be split over."""

from collections.abc import Iterator
import math

from pax_softmoe import protocol
from pax_softmoe.sharding import axis_rules


def mesh_problem(
    experiment: protocol.Experiment, mesh: tuple[int, ...]
) -> str | None:
  """Returns why the experiment cannot run on that mesh, or None if it can.

  Args:
    experiment: an `ImageClassification`.
    mesh: (replica, data, expert, mdl), over all slices.
  """
  rules = experiment.sharding_rules()

  def parts(letter, kind):
    return axis_rules.axis_size(mesh, getattr(rules, kind)(letter)[0])

  group = experiment.group_size()
  images = 'images' if group == 1 else f'groups of {group} images'
  train, evaluation = experiment.TRAIN_BATCH_SIZE, experiment.EVAL_BATCH_SIZE
  experts, hidden = experiment.num_experts(), experiment.HIDDEN_DIMS
  wanted = (
      ('experts', 'NUM_EXPERTS', experts, parts('e', 'activation')),
      ('hidden dims', 'HIDDEN_DIMS', hidden, parts('h', 'activation')),
      ('hidden dims', 'HIDDEN_DIMS', hidden, parts('h', 'expert_weight')),
      ('heads', 'NUM_HEADS', experiment.NUM_HEADS, parts('a', 'activation')),
      (
          'model dims',
          'MODEL_DIMS',
          experiment.MODEL_DIMS,
          parts('d', 'dense_weight'),
      ),
      (images, 'TRAIN_BATCH_SIZE', train // group, parts('b', 'activation')),
      (
          images,
          'EVAL_BATCH_SIZE',
          evaluation // group,
          parts('b', 'activation'),
      ),
  )
  for what, setting, size, count in wanted:
    # A dense model has one "expert", which nothing splits.
    if size % count and not (what == 'experts' and size == 1):
      fits = numbers(divisors(size))
      return (
          f'{size} {what} ({setting}) cannot be split over {count} devices of'
          f' a {" x ".join(map(str, mesh))} mesh; the number must be one of'
          f' {fits}'
      )
  in_parts = experiment.EXCHANGE_PARTS if experiment.num_moe_layers() else 1
  for setting, size in (
      ('TRAIN_BATCH_SIZE', train // group),
      ('EVAL_BATCH_SIZE', evaluation // group),
  ):
    own = size // parts('b', 'activation')
    if own % in_parts:
      return (
          f'{own} {images} of a device ({setting}) cannot go to experts in'
          f' {in_parts} equal parts (EXCHANGE_PARTS); the number must be one of'
          f' {numbers(divisors(own))}'
      )
  return None


def valid_meshes(
    experiment: protocol.Experiment, chips: int
) -> list[tuple[int, ...]]:
  """Returns the meshes of one slice of `chips` to run the experiment on.

  Those with an axis along which all devices would do the same work would run
  too, and are left out.

  Args:
    experiment: an `ImageClassification`.
    chips: devices of a slice.

  Returns:
    (replica, data, expert, mdl) with replica 1, widest expert axis first.
  """
  dcn = experiment.DCN_MESH_SHAPE or (1, 1, 1, 1)
  rules = experiment.sharding_rules()
  return [
      ici
      for ici in meshes(chips)
      if not rules.has_idle_axis(ici)
      and not mesh_problem(experiment, tuple(i * d for i, d in zip(ici, dcn)))
  ]


def meshes(chips: int) -> Iterator[tuple[int, ...]]:
  """Yields all meshes of one replica of `chips`, widest expert axis first."""
  for expert in reversed(divisors(chips)):
    for mdl in divisors(chips // expert):
      yield 1, chips // expert // mdl, expert, mdl


def divisors(n: int) -> list[int]:
  """Returns all divisors of n, ascending."""
  small = [i for i in range(1, math.isqrt(n) + 1) if n % i == 0]
  return sorted({*small, *(n // i for i in small)})


def numbers(values: list[int]) -> str:
  """Returns numbers as text, the middle ones of many left out."""
  shown = values if len(values) <= 9 else values[:8] + ['…', values[-1]]
  return ', '.join(map(str, shown))


def listed(found: list[tuple[int, ...]]) -> str:
  """Returns the first meshes as text."""
  return ', '.join(map(str, found[:8])) or 'none for this many devices'
