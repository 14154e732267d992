"""Measures every router against the dense layer, turn by turn.

All systems run in one process and take turns, so that a machine that slows down
slows all of them. Each turn gives one ratio to the dense system.
"""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import math
import statistics
import sys
import time
from typing import Any

import jax
from jax import numpy as jnp
import numpy as np
from pax_softmoe import protocol
from pax_softmoe.experiments import recipes
from pax_softmoe.experiments import routers
from pax_softmoe.layers import feed_forward
from praxis import base_layer
from praxis import pax_fiddle
from praxis import py_utils

LayerTpl = pax_fiddle.Config[base_layer.BaseLayer]
NestedMap = py_utils.NestedMap

DENSE = 'Dense'
ROUTERS = {
    DENSE: (routers.Dense, {}),
    'SoftMoE': (routers.SoftMoE, {}),
    'TokensChoice': (routers.TokensChoice, {}),
    'ExpertsChoice': (routers.ExpertsChoice, {}),
    'Identity': (routers.FixedRouting, {'ROUTING': 'identity'}),
    'Uniform': (routers.FixedRouting, {'ROUTING': 'uniform'}),
}
PARTS = ('layer', 'model')
PASSES = ('forward', 'forward_backward')
_PATCH_SIZE = 16
_NUM_CLASSES = 1000


@dataclasses.dataclass(frozen=True)
class Shape:
  """Sizes of a layer and of the model around it.

  Attributes:
    batch: B, images.
    tokens: N of an image.
    dims: D.
    experts: E of each MoE layer.
    slots: P of each expert, of the routers that have it.
    hidden: H of each MLP.
    layers: blocks of the model; the second half has experts.
    heads: attention heads of the model.
  """

  batch: int = 16
  tokens: int = 196
  dims: int = 384
  experts: int = 128
  slots: int = 1
  hidden: int = 1536
  layers: int = 12
  heads: int = 6


def interleaved(
    calls: Mapping[str, Callable[[], Any]], rounds: int
) -> dict[str, list[float]]:
  """Returns seconds of every call in every round, after one that is not timed.

  Args:
    calls: by name; what they return is waited for. They take turns, and every
      round starts with another one.
    rounds: how many times each is timed.
  """
  for call in calls.values():
    jax.block_until_ready(call())
  seconds = {name: [] for name in calls}
  names = list(calls)
  for i in range(rounds):
    first = i % len(names)
    for name in names[first:] + names[:first]:
      start = time.perf_counter()
      jax.block_until_ready(calls[name]())
      seconds[name].append(time.perf_counter() - start)
  return seconds


def spread(values: Sequence[float]) -> dict[str, float]:
  """Returns minimum, median and maximum."""
  return {
      'min': min(values),
      'median': statistics.median(values),
      'max': max(values),
  }


def run(shape: dict[str, int], parts: list[str], rounds: int) -> dict[str, Any]:
  """Measures layers, models or both.

  Args:
    shape: fields of `Shape`.
    parts: of `PARTS`.
    rounds: turns of each system.

  Returns:
    `shape`, `device`, `rounds`, and for each part and pass by router `ms` and
    `ratio` to the dense system, each with its spread over rounds; a router that
    cannot run at these sizes gives the reason in its place.

  Raises:
    ValueError: the sizes make no model.
  """
  sizes = Shape(**shape)
  if 'model' in parts and math.isqrt(sizes.tokens) ** 2 != sizes.tokens:
    raise ValueError(
        f'bench: {sizes.tokens} tokens are no square of patches, which a whole'
        ' model needs; measure the layer only, with --parts layer'
    )
  result = {
      'shape': dataclasses.asdict(sizes),
      'device': jax.devices()[0].device_kind,
      'rounds': rounds,
  }
  for part in parts:
    result[part] = {p: _run_pass(part, p, sizes, rounds) for p in PASSES}
  return result


def _run_pass(part: str, which: str, shape: Shape, rounds: int) -> Any:
  """Returns `ms` and `ratio` by router, or why it cannot run."""
  arrays = Arrays()
  calls, rows = {}, {}
  for name in ROUTERS:
    print(f'{part}, {which}: compiling {name}', file=sys.stderr)
    experiment = _experiment(name, shape)
    make = _layer_call if part == 'layer' else _model_call
    try:
      call = make(experiment, shape, arrays, which == 'forward_backward')
      jax.block_until_ready(call())
    except ValueError as error:
      rows[name] = {'error': str(error)}
    else:
      calls[name] = call
  print(f'{part}, {which}: measuring', file=sys.stderr)
  seconds = interleaved(calls, rounds)
  dense = seconds[DENSE]
  for name, values in seconds.items():
    rows[name] = {
        'ms': spread([1e3 * s for s in values]),
        'ratio': spread([s / d for s, d in zip(values, dense)]),
    }
  return rows


def _experiment(name: str, shape: Shape) -> Any:
  """Returns an experiment of that router and shape."""
  router, settings = ROUTERS[name]
  settings = {
      **settings,
      'IMAGE_SIZE': math.isqrt(shape.tokens) * _PATCH_SIZE,
      'PATCH_SIZE': _PATCH_SIZE,
      'MODEL_DIMS': shape.dims,
      'HIDDEN_DIMS': shape.hidden,
      'NUM_HEADS': shape.heads,
      'NUM_LAYERS': shape.layers,
      'NUM_CLASSES': _NUM_CLASSES,
      'COMPUTE_DTYPE': jnp.float32,
      'REMAT': 'none',
      'TRAIN_BATCH_SIZE': shape.batch,
  }
  optional = {
      'NUM_EXPERTS': shape.experts,
      'SLOTS_PER_EXPERT': shape.slots,
      'GROUP_SIZE': math.gcd(shape.batch, 8),
  }
  settings.update({k: v for k, v in optional.items() if hasattr(router, k)})
  return type(name, (router, recipes.Jft), settings)()


class Arrays:
  """Random arrays, one for each shape: systems share their weights' memory."""

  def __init__(self):
    self._arrays = {}
    self._generator = np.random.default_rng(0)

  def __call__(self, shape: Sequence[int], scale: float = 0.02) -> jax.Array:
    key = (tuple(shape), scale)
    if key not in self._arrays:
      value = self._generator.standard_normal(shape, np.float32) * scale
      self._arrays[key] = jnp.asarray(value)
    return self._arrays[key]

  def weights(self, layer: base_layer.BaseLayer, *inputs: Any) -> Any:
    """Returns random weights of a layer that is called with `inputs`."""
    specs = layer.abstract_init_with_metadata(*inputs)['params']
    return jax.tree_util.tree_map(lambda w: self(w.full_shape), specs)


def layer_call(name: str, shape: Shape, backward: bool) -> Callable[[], Any]:
  """Returns a call of a router's layer on random tokens with random weights.

  Args:
    name: a key of `ROUTERS`.
    shape: its sizes.
    backward: whether with the gradients of weights and tokens.
  """
  return _layer_call(_experiment(name, shape), shape, Arrays(), backward)


def _layer_call(
    experiment: protocol.Experiment,
    shape: Shape,
    arrays: Arrays,
    backward: bool,
) -> Callable[[], Any]:
  """Returns a call of norm, MLP or mixture, and residual on tokens."""
  moe = experiment.moe_tpl()
  if moe is None:
    tpl = pax_fiddle.Config(feed_forward.DenseFeedForward)
  else:
    tpl = pax_fiddle.Config(feed_forward.MoEFeedForward, moe_tpl=moe)
  layer = base_layer.instantiate(
      tpl.set(
          name='layer',
          input_dims=shape.dims,
          hidden_dims=shape.hidden,
          dtype=jnp.float32,
          fprop_dtype=jnp.float32,
      )
  )
  x = arrays((shape.batch, shape.tokens, shape.dims), 1.0)
  weights = arrays.weights(layer, x)

  def loss(weights, x):
    # A different gradient for each output, as from a layer above.
    return jnp.vdot(_apply(layer, weights, x), x[::-1])

  if backward:
    step = jax.jit(jax.grad(loss, argnums=(0, 1)))
  else:
    step = jax.jit(lambda weights, x: _apply(layer, weights, x))
  return lambda: step(weights, x)


def _model_call(
    experiment: protocol.Experiment,
    shape: Shape,
    arrays: Arrays,
    backward: bool,
) -> Callable[[], Any]:
  """Returns a call of the whole classifier on images."""
  model = base_layer.instantiate(experiment.model())
  side = experiment.IMAGE_SIZE
  batch = NestedMap(
      image=arrays((shape.batch, side, side, experiment.CHANNELS), 1.0),
      labels=jnp.zeros((shape.batch, _NUM_CLASSES)).at[:, 0].set(1),
      eval_sample_weights=jnp.ones((shape.batch,)),
  )
  weights = arrays.weights(model, batch)

  def loss(weights, batch):
    return _apply(model, weights, batch)[0].total_loss[0]

  step = jax.jit(jax.grad(loss) if backward else loss)
  return lambda: step(weights, batch)


def _apply(layer: base_layer.BaseLayer, weights: Any, inputs: Any) -> Any:
  """Returns what a layer makes of inputs in training."""
  key = jax.random.PRNGKey(0)
  with base_layer.JaxContext.new_context(
      hparams=base_layer.JaxContext.HParams(do_eval=False)
  ):
    outputs, _ = layer.apply(
        {'params': weights},
        inputs,
        rngs={'random': key},
        mutable=[base_layer.AUX_LOSS],
    )
  return outputs
