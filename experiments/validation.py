"""Checks of an experiment's settings, each with a message that says what to do."""

from collections.abc import Iterator
import math
from typing import Any

import jax
from pax_softmoe import sharding
from pax_softmoe.layers import stack


def check_setting_names(experiment: type) -> None:
  """Raises ValueError if a class sets a setting that nothing declares.

  Settings are declared by an annotation, which assignments in subclasses do not
  repeat; a misspelt one would otherwise be accepted and do nothing.
  """
  declared = set()
  for cls in experiment.__mro__:
    declared.update(
        n for n in vars(cls).get('__annotations__', {}) if n.isupper()
    )
  for cls in experiment.__mro__:
    for name in vars(cls):
      if name.isupper() and not name.startswith('_') and name not in declared:
        raise ValueError(
            f'{experiment.__name__}: there is no setting {name}; the settings'
            f' are {", ".join(sorted(declared))}'
        )


def validate(experiment: Any) -> None:
  """Raises ValueError if the settings do not fit together, the mesh or data.

  Args:
    experiment: an `ImageClassification`.
  """
  name = type(experiment).__name__
  check_setting_names(type(experiment))
  _check_model(name, experiment)
  _check_mesh(name, experiment)
  experiment.check_long_job()
  experiment.optimizer().lr_schedule.clone().Instantiate()
  source = experiment.source()
  if source is None:
    return
  if source.num_classes != experiment.NUM_CLASSES:
    raise ValueError(
        f'{name}: the data has {source.num_classes} classes and NUM_CLASSES is'
        f' {experiment.NUM_CLASSES}; make them equal'
    )
  for split in (experiment.TRAIN_SPLIT, *experiment.EVAL_SPLITS):
    if split not in source.splits:
      raise ValueError(
          f'{name}: the data has no split {split!r}; set TRAIN_SPLIT and'
          f' EVAL_SPLITS to some of {", ".join(source.splits)}'
      )
  if source.multi_label and experiment.LOSS == 'softmax':
    raise ValueError(
        f"{name}: images of the data have several labels and LOSS is 'softmax';"
        " set LOSS to 'sigmoid'"
    )
  source.check()


def _check_model(name: str, experiment: Any) -> None:
  for setting in (
      'IMAGE_SIZE',
      'CHANNELS',
      'NUM_CLASSES',
      'PATCH_SIZE',
      'MODEL_DIMS',
      'HIDDEN_DIMS',
      'NUM_HEADS',
      'NUM_LAYERS',
      'TRAIN_BATCH_SIZE',
      'EVAL_BATCH_SIZE',
      'NUM_TRAIN_STEPS',
  ):
    value = getattr(experiment, setting)
    if not isinstance(value, int) or value < 1:
      raise ValueError(f'{name}: {setting} is {value!r}; set it to 1 or more')
  image, patch = experiment.IMAGE_SIZE, experiment.PATCH_SIZE
  if image % patch:
    below = image // patch * patch
    raise ValueError(
        f'{name}: images of {image} pixels cannot be cut into patches of'
        f' {patch}; set IMAGE_SIZE to {below or patch} or {below + patch}, or'
        f' PATCH_SIZE to one of {_numbers(divisors(image))}'
    )
  # Routers that let images compete need whole groups of them.
  group = getattr(experiment, 'GROUP_SIZE', 1)
  for setting in ('TRAIN_BATCH_SIZE', 'EVAL_BATCH_SIZE'):
    batch = getattr(experiment, setting)
    if group < 1 or batch % group:
      raise ValueError(
          f'{name}: {batch} images ({setting}) cannot be cut into groups of'
          f' {group}; set GROUP_SIZE to one of {_numbers(divisors(batch))}'
      )
    processes = jax.process_count()
    if batch % processes:
      raise ValueError(
          f'{name}: {batch} images ({setting}) cannot be read by {processes}'
          f' processes in equal parts; set {setting} to a multiple of'
          f' {processes}'
      )
  dims, heads = experiment.MODEL_DIMS, experiment.NUM_HEADS
  if dims % heads:
    raise ValueError(
        f'{name}: {dims} model dims cannot be split into {heads} heads; set'
        f' NUM_HEADS to one of {_numbers(divisors(dims))}'
    )
  layers = experiment.NUM_LAYERS
  beyond = [i for i in experiment.moe_layers() if not 0 <= i < layers]
  if beyond:
    raise ValueError(
        f'{name}: MOE_LAYERS has {beyond[0]}, but blocks are 0 to {layers - 1}'
    )
  if experiment.num_experts() < 1:
    raise ValueError(
        f'{name}: NUM_EXPERTS is {experiment.num_experts()}; set it to 1 or'
        ' more'
    )
  try:
    stack.remat_policy(experiment.REMAT)
    experiment.sharding_rules()
  except ValueError as error:
    raise ValueError(f'{name}: {error}') from None


def _check_mesh(name: str, experiment: Any) -> None:
  ici = experiment.ici_mesh_shape()
  dcn = experiment.DCN_MESH_SHAPE or (1, 1, 1, 1)
  for setting, shape in (('ICI_MESH_SHAPE', ici), ('DCN_MESH_SHAPE', dcn)):
    if len(shape) != len(sharding.MESH_AXES) or min(shape) < 1:
      raise ValueError(
          f'{name}: {setting} is {tuple(shape)}; it needs a size of 1 or more'
          f' for each of {", ".join(sharding.MESH_AXES)}'
      )
  mesh = experiment.mesh_shape()
  devices, slices = jax.device_count(), math.prod(dcn)
  if devices % slices:
    raise ValueError(
        f'{name}: {devices} devices cannot be {slices} equal slices; set'
        ' DCN_MESH_SHAPE to sizes whose product is one of'
        f' {_numbers(divisors(devices))}'
    )
  if math.prod(mesh) != devices:
    choices = valid_meshes(experiment, devices // slices)
    raise ValueError(
        f'{name}: a mesh of {" x ".join(map(str, mesh))} needs'
        f' {math.prod(mesh)} devices, and there are {devices}; set'
        f' ICI_MESH_SHAPE to one of {_meshes(choices)}'
    )
  problem = mesh_problem(experiment, mesh)
  if problem:
    choices = valid_meshes(experiment, math.prod(ici))
    raise ValueError(f'{name}: {problem}; valid meshes: {_meshes(choices)}')


def mesh_problem(experiment: Any, mesh: tuple[int, ...]) -> str | None:
  """Returns why the experiment cannot run on that mesh, or None if it can.

  Args:
    experiment: an `ImageClassification`.
    mesh: (replica, data, expert, mdl), over all slices.
  """
  rules = experiment.sharding_rules()

  def parts(letter, kind):
    return sharding.axis_size(mesh, getattr(rules, kind)(letter)[0])

  group = getattr(experiment, 'GROUP_SIZE', 1)
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
      fits = _numbers(divisors(size))
      return (
          f'{size} {what} ({setting}) cannot be split over {count} devices of'
          f' a {" x ".join(map(str, mesh))} mesh; the number must be one of'
          f' {fits}'
      )
  return None


def valid_meshes(experiment: Any, chips: int) -> list[tuple[int, ...]]:
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
  return [i for i in range(1, n + 1) if n % i == 0]


def _numbers(values: list[int]) -> str:
  shown = values if len(values) <= 9 else values[:8] + ['…', values[-1]]
  return ', '.join(map(str, shown))


def _meshes(meshes: list[tuple[int, ...]]) -> str:
  return ', '.join(map(str, meshes[:8])) or 'none for this many devices'
