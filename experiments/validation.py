"""Checks of an experiment's settings, each with a message that says what to do."""

from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import math
import re
from typing import TYPE_CHECKING
from typing import Any

import jax
from jax import numpy as jnp
from pax_softmoe import files
from pax_softmoe.experiments import settings
from pax_softmoe.sharding import fits
from praxis import base_layer

if TYPE_CHECKING:
  from pax_softmoe.experiments import base

# More than anybody has.
_MOST_DEVICES = 2**20


@contextlib.contextmanager
def about(experiment: Any, setting: str) -> Iterator[None]:
  """Makes a ValueError of a `with` block name an experiment and its setting.

  Args:
    experiment: a class, or an instance of one.
    setting: what the block reads, in words.

  Raises:
    ValueError: the block's, in one line.
  """
  cls = experiment if isinstance(experiment, type) else type(experiment)
  try:
    yield
  except ValueError as error:
    # Fiddle adds to errors, in further lines, what it was building.
    text = str(error).splitlines()[0].removeprefix(f'{cls.__name__}: ')
    raise ValueError(f'{cls.__name__}: {setting}: {text}') from error


def validate(experiment: 'base.ImageClassification') -> None:
  """Raises ValueError if an experiment cannot run on this machine.

  Args:
    experiment: an `ImageClassification`.
  """
  check_settings(experiment, on_this_machine=True)
  with about(experiment, 'INIT_FROM'):
    _check_start(experiment.INIT_FROM)
  experiment.fewshot_plan()
  with about(experiment, 'DATA_DIR'):
    _check_folders(experiment.DATA_DIR)
    source = experiment.source()
  if source is None:
    return
  name = type(experiment).__name__
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
  with about(experiment, 'DATA_DIR'):
    source.check()


def check_settings(
    experiment: 'base.ImageClassification', on_this_machine: bool = False
) -> None:
  """Raises ValueError if settings make no sense, or do not fit together.

  Args:
    experiment: an `ImageClassification`.
    on_this_machine: whether the mesh must be one of the devices that there are.
  """
  settings.check(experiment)
  _check_model(experiment)
  if on_this_machine:
    _check_devices(experiment)
  _check_mesh(experiment)
  _check_schedule(experiment)
  _check_experts(experiment)


def _check_folders(data_dir: str | Mapping[str, float]) -> None:
  for word in [data_dir] if isinstance(data_dir, str) else data_dir:
    if word and not word.startswith('tfds:') and not files.is_folder(word):
      raise ValueError(
          f'there is no folder {word}; give one that `softmoe data` wrote, or'
          ' another of TFRecord files'
      )


def _check_model(experiment: 'base.ImageClassification') -> None:
  name = type(experiment).__name__
  image, patch = experiment.IMAGE_SIZE, experiment.PATCH_SIZE
  if image % patch:
    below = image // patch * patch
    sizes = ' or '.join(str(s) for s in (below, below + patch) if s)
    raise ValueError(
        f'{name}: images of {image} pixels cannot be cut into patches of'
        f' {patch}; set IMAGE_SIZE to {sizes}, or PATCH_SIZE to one of'
        f' {fits.numbers(fits.divisors(image))}'
    )
  # Routers that let images compete need whole groups of them.
  group = experiment.group_size()
  for setting in ('TRAIN_BATCH_SIZE', 'EVAL_BATCH_SIZE'):
    batch = getattr(experiment, setting)
    if batch % group:
      raise ValueError(
          f'{name}: {batch} images ({setting}) cannot be cut into groups of'
          f' {group}; set GROUP_SIZE to one of'
          f' {fits.numbers(fits.divisors(batch))}'
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
        f'{name}: {dims} model dims (MODEL_DIMS) cannot be split into {heads}'
        f' heads; set NUM_HEADS to one of {fits.numbers(fits.divisors(dims))}'
    )
  layers, moe_layers = experiment.NUM_LAYERS, experiment.moe_layers()
  beyond = [i for i in moe_layers if not 0 <= i < layers]
  if beyond:
    raise ValueError(
        f'{name}: MOE_LAYERS has {beyond[0]}, but blocks are 0 to {layers - 1}'
    )
  experts = experiment.num_experts()
  selected = getattr(experiment, 'NUM_SELECTED_EXPERTS', 1)
  if selected > experts:
    raise ValueError(
        f'{name}: NUM_SELECTED_EXPERTS is {selected} and NUM_EXPERTS'
        f' {experts}; the first must not be more than the second'
    )
  with about(experiment, 'SHARDING_OVERRIDES'):
    experiment.sharding_rules()


def _check_schedule(experiment: 'base.ImageClassification') -> None:
  """Raises ValueError if intervals or the learning rate make no sense."""
  name = type(experiment).__name__
  if experiment.ACCUMULATE_STEPS > experiment.NUM_TRAIN_STEPS:
    raise ValueError(
        f'{name}: gradients are accumulated over {experiment.ACCUMULATE_STEPS}'
        f' steps, and there are {experiment.NUM_TRAIN_STEPS}; lower'
        ' ACCUMULATE_STEPS'
    )
  every, interval = (
      experiment.SAVE_KEEP_EVERY_STEPS,
      experiment.SAVE_INTERVAL_STEPS,
  )
  if every is not None and every % interval:
    raise ValueError(
        f'{name}: SAVE_KEEP_EVERY_STEPS is {every}, and checkpoints are saved'
        f' every {interval} steps; set it to a multiple of that, or None'
    )
  with about(experiment, 'the learning rate'):
    optimizer = experiment.optimizer()
    schedule = optimizer.lr_schedule.clone().Instantiate()
  total = experiment.NUM_TRAIN_STEPS
  steps = sorted({0, 1, experiment.WARMUP_STEPS, total // 2, total - 1, total})
  rates = []
  for step in steps:
    rate = float(optimizer.learning_rate * schedule.value_at(step))
    if not 0 <= rate < math.inf:
      raise ValueError(
          f'{name}: the learning rate of step {step} would be {rate}; change'
          ' LEARNING_RATE or the settings of its schedule'
      )
    rates.append(rate)
  if max(rates) < jnp.finfo(jnp.float32).tiny:
    raise ValueError(
        f'{name}: the learning rate is {max(rates)} at most, which is nothing'
        ' in float32; raise LEARNING_RATE'
    )


def _check_experts(experiment: 'base.ImageClassification') -> None:
  """Raises ValueError if the layer with the experts refuses its settings."""
  tpl = experiment.moe_tpl()
  if tpl is None:
    return
  tokens = (experiment.IMAGE_SIZE // experiment.PATCH_SIZE) ** 2
  group = experiment.group_size()
  layer = base_layer.instantiate(
      tpl.set(
          name='moe',
          input_dims=experiment.MODEL_DIMS,
          hidden_dims=experiment.HIDDEN_DIMS,
      )
  )
  with about(experiment, 'the layer with the experts'):
    try:
      layer.abstract_init_with_metadata(
          jnp.zeros([group, tokens, experiment.MODEL_DIMS])
      )
    except ValueError as error:
      # Its fields are named like the settings, in small letters.
      text = str(error)
      for name in settings.declared(type(experiment)):
        text = re.sub(rf'\b{name.lower()}\b', name, text)
      raise ValueError(text) from error


def _check_start(path: str) -> None:
  """Raises ValueError if INIT_FROM names what is not there."""
  if path and not files.exists(path):
    raise ValueError(
        f'there is no {path}; give the folder of a job or of `softmoe import`,'
        ' or an .npz file'
    )


def _check_mesh(experiment: 'base.ImageClassification') -> None:
  """Raises ValueError if the experiment cannot be split over its mesh."""
  mesh = experiment.mesh_shape()
  if math.prod(mesh) > _MOST_DEVICES:
    raise ValueError(
        f'{type(experiment).__name__}: a mesh of {" x ".join(map(str, mesh))}'
        f' has more than {_MOST_DEVICES:,} devices; set ICI_MESH_SHAPE and'
        ' DCN_MESH_SHAPE to smaller sizes'
    )
  problem = fits.mesh_problem(experiment, mesh)
  if problem:
    choices = fits.valid_meshes(
        experiment, math.prod(experiment.ici_mesh_shape())
    )
    raise ValueError(
        f'{type(experiment).__name__}: {problem}; valid meshes:'
        f' {fits.listed(choices)}'
    )


def _check_devices(experiment: 'base.ImageClassification') -> None:
  """Raises ValueError if this machine has not the devices of the mesh."""
  name, mesh = type(experiment).__name__, experiment.mesh_shape()
  devices = jax.device_count()
  slices = math.prod(experiment.DCN_MESH_SHAPE or (1,))
  if devices % slices:
    raise ValueError(
        f'{name}: {devices} devices cannot be {slices} equal slices; set'
        ' DCN_MESH_SHAPE to sizes whose product is one of'
        f' {fits.numbers(fits.divisors(devices))}'
    )
  if math.prod(mesh) != devices:
    choices = fits.valid_meshes(experiment, devices // slices)
    raise ValueError(
        f'{name}: a mesh of {" x ".join(map(str, mesh))} needs'
        f' {math.prod(mesh)} devices, and there are {devices}; set'
        f' ICI_MESH_SHAPE to one of {fits.listed(choices)}'
    )
