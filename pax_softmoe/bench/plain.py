"""Times the Soft MoE layer against a plain one on JAX's defaults.

Flags of XLA and of the memory allocator count from the start of a process, so
each side has one of its own; `tools.child` lets them take turns.
"""

from collections.abc import Callable
import time
from typing import Any

import jax
from jax import numpy as jnp
from pax_softmoe.bench import speed

SIDES = ('package', 'plain')


def turns(side: str, which: str, shape: dict[str, int]) -> Callable[[], float]:
  """Returns a call that runs one side once and returns its seconds.

  Args:
    side: of `SIDES`.
    which: of `speed.PASSES`.
    shape: fields of `speed.Shape`.
  """
  sizes = speed.Shape(**shape)
  backward = which == 'forward_backward'
  if side == 'package':
    call = speed.layer_call('SoftMoE', sizes, backward)
  else:
    call = _plain_call(sizes, backward)
  jax.block_until_ready(call())

  def turn() -> float:
    start = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - start

  return turn


def plain_layer(weights: dict[str, Any], x: jax.Array) -> jax.Array:
  """Returns norm, Soft MoE and residual, line by line as in the paper.

  Args:
    weights: `ln_scale`, `ln_bias` [D], `phi` [D, E, P], `scale` [], and the
      experts' `wi` [E, D, H], `bi` [E, H], `wo` [E, H, D], `bo` [E, D].
    x: [B, N, D].
  """
  mean = jnp.mean(x, axis=-1, keepdims=True)
  variance = jnp.var(x, axis=-1, keepdims=True)
  tokens = (x - mean) / jnp.sqrt(variance + 1e-6)
  tokens = tokens * weights['ln_scale'] + weights['ln_bias']
  phi = weights['phi']
  norm = lambda v, axis: v / jnp.sqrt((v**2).sum(axis, keepdims=True) + 1e-6)
  logits = jnp.einsum(
      'bnd,dep->bnep', norm(tokens, -1), weights['scale'] * norm(phi, 0)
  )
  dispatch = jax.nn.softmax(logits, axis=1)
  combine = jax.nn.softmax(logits, axis=(2, 3))
  slots = jnp.einsum('bnd,bnep->bepd', tokens, dispatch)
  hidden = jnp.einsum('bepd,edh->beph', slots, weights['wi'])
  hidden = jax.nn.gelu(hidden + weights['bi'][:, None, :])
  outputs = jnp.einsum('beph,ehd->bepd', hidden, weights['wo'])
  outputs += weights['bo'][:, None, :]
  return x + jnp.einsum('bepd,bnep->bnd', outputs, combine)


def _plain_call(shape: speed.Shape, backward: bool) -> Callable[[], Any]:
  e, d, h = shape.experts, shape.dims, shape.hidden
  sizes = {
      'ln_scale': (d,),
      'ln_bias': (d,),
      'phi': (d, e, shape.slots),
      'scale': (),
      'wi': (e, d, h),
      'bi': (e, h),
      'wo': (e, h, d),
      'bo': (e, d),
  }
  arrays = speed.Arrays()
  weights = {name: arrays(size) for name, size in sizes.items()}
  x = arrays((shape.batch, shape.tokens, d), 1.0)
  step = plain_layer
  if backward:
    loss = lambda weights, x: jnp.vdot(plain_layer(weights, x), x[::-1])
    step = jax.grad(loss, argnums=(0, 1))
  step = jax.jit(step)
  return lambda: step(weights, x)
