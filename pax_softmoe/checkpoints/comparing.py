"""Says which setting two models or two jobs differ in, by their arrays alone."""

from collections.abc import Mapping
import re

from pax_softmoe.checkpoints import adapt
from pax_softmoe.layers import block_names

Shapes = Mapping[str, tuple[int, ...]]
# Shape and dtype of each array of a train state by its folder's name, such as
# 'opt_states_0_2.m.params.vit.norm.bias'.
Arrays = Mapping[str, tuple[tuple[int, ...], str]]

_WEIGHTS = 'mdl_vars.params.'
# What only some jobs keep, with the setting that makes them.
_OPTIONAL = {
    'ema': ('a moving average of its weights', 'EMA_DECAY'),
    'accumulated_update': ('a sum of gradients', 'ACCUMULATE_STEPS'),
}


def check_weights(have: Shapes, want: Shapes) -> None:
  """Checks that a model can take weights.

  Args:
    have: shapes of the weights by name, such as 'vit/norm/bias'.
    want: those of the model.

  Raises:
    ValueError: it cannot; the message says what would help.
  """
  single, wanted = map(_single_blocks, (have, want))
  if single != wanted:
    name = sorted(have.keys() ^ want.keys() or have.keys())[0]
    side = 'model has'
    if name in have:
      side = 'weights have'
    raise ValueError(
        f'only the {side} {name}; the weights are of another model:'
        f' {_difference(single, wanted)}'
    )
  if have.keys() != want.keys():
    scanned = any(map(block_names.is_stacked, have))
    raise ValueError(
        'the weights are of a model with another SCAN_LAYERS; set it to'
        f' {scanned}, or start from them with INIT_FROM, which takes both'
    )
  differ = [name for name in have if have[name] != want[name]]
  for name in differ:
    if match := re.fullmatch(r'(.*)/experts/w[io]', name):
      experts, needed = have[name][-3], want[name][-3]
      if experts != needed:
        raise ValueError(
            f'{match[1]} has {experts} experts in the weights and {needed} in'
            f' the model; set NUM_EXPERTS to {experts}, or make other'
            ' experts by upcycling'
        )
  # Of a slot's arrays the router says most; what is no expert says the size.
  for name in sorted(differ, key=lambda name: '/moe/' in name):
    what = 'the weights are of another size of model'
    if '/moe/' in name:
      what = 'set the router and its slots to those of the weights'
    else:
      what += f': set {adapt.setting_of(name, have[name], want[name])}'
    raise ValueError(
        f'{name} is {have[name]} in the weights and {want[name]} in the model;'
        f' {what}'
    )


def _single_blocks(shapes: Shapes) -> set[str]:
  """Returns what the arrays are called in single blocks."""
  return {
      single
      for name, shape in shapes.items()
      for single in block_names.singles(name, shape)
  }


def _difference(have: set[str], want: set[str]) -> str:
  """Returns what to set, of names in single blocks that differ."""
  blocks, wanted = map(block_names.numbers, (have, want))
  if blocks != wanted:
    return (
        f'they have {len(blocks)} blocks, the model {len(wanted)}; set'
        f' NUM_LAYERS to {len(blocks)}'
    )
  experts, wanted = (
      block_names.numbers({n for n in names if '/moe/' in n})
      for names in (have, want)
  )
  if not experts or not wanted:
    kinds = ('dense', 'with experts') if wanted else ('with experts', 'dense')
    return (
        f'they are {kinds[0]}, the model is {kinds[1]}; take an experiment of'
        ' their kind, or make experts of a dense model by upcycling'
    )
  if experts != wanted:
    return (
        f'they have experts in blocks {experts}, the model in {wanted}; set'
        f' MOE_LAYERS to {experts}'
    )
  if any(name.endswith('_scale') for name in have ^ want):
    has = any(name.endswith('_scale') for name in have - want)
    return f'set QK_NORM to {has}'
  return 'set the router and its slots to those of the weights'


def check_state(have: Arrays, want: Arrays) -> None:
  """Checks that a job can go on from the train state of a checkpoint.

  Args:
    have: what the checkpoint has.
    want: what the job would save; without an optimizer's state if it only
      evaluates, or starts from some of the weights.

  Raises:
    ValueError: it cannot; the message names the setting that differs most
      probably.
  """
  trains = any(map(_is_optimizer, want))
  if not trains and want.keys() <= have.keys():
    # Whoever starts from parts of a model takes some of its weights.
    have = {name: have[name] for name in want}
  check_weights(_weights(have), _weights(want))
  if trains and not any(map(_is_optimizer, have)):
    raise ValueError(
        'it has weights and no state of an optimizer; start from it with'
        ' INIT_FROM, in another folder'
    )
  for part, (what, setting) in _OPTIONAL.items():
    has, wants = (
        any(f'.{part}.' in n for n in names) for names in (have, want)
    )
    if has != wants:
      sides = ('it has', 'the job has none')
      if wants:
        sides = ('the job has', 'it has none')
      raise ValueError(f'{sides[0]} {what}, {sides[1]}; set {setting} back')
  if have.keys() != want.keys():
    name = sorted(have.keys() ^ want.keys())[0]
    side = 'it has' if name in have else 'the job has'
    raise ValueError(
        f'only {side} {name}; set the optimizer back to what it was'
    )
  for name, found in have.items():
    if found != want[name]:
      setting = 'the setting that it follows'
      if '.m.params.' in name:
        setting = 'FIRST_MOMENT_DTYPE'
      raise ValueError(
          f'{name} is {_text(found)} in it and {_text(want[name])} in the job;'
          f' set {setting} back'
      )


def _weights(arrays: Arrays) -> dict[str, tuple[int, ...]]:
  return {
      name.removeprefix(_WEIGHTS).replace('.', '/'): shape
      for name, (shape, _) in arrays.items()
      if name.startswith(_WEIGHTS)
  }


def _is_optimizer(name: str) -> bool:
  return name.startswith('opt_states')


def _text(array: tuple[tuple[int, ...], str]) -> str:
  return f'{array[1]} {list(array[0])}'
