"""Makes, initializes and applies Praxis layers in float32."""

from typing import Any

import jax
from jax import numpy as jnp
from praxis import base_layer
from praxis import pax_fiddle


def instantiate(layer: Any, **fields: Any) -> base_layer.BaseLayer:
  """Returns an instance of a layer's class or template, with fields set."""
  if isinstance(layer, type):
    layer = pax_fiddle.Config(layer)
  layer = layer.clone().set(name='layer', dtype=jnp.float32)
  layer.set(**{'fprop_dtype': jnp.float32, **fields})
  return base_layer.instantiate(layer)


def init(layer: base_layer.BaseLayer, *args: Any, seed: int = 0) -> Any:
  """Returns the initial variables, drawn from `seed`."""
  key = jax.random.PRNGKey(seed)
  variables = layer.init({'params': key, 'random': key}, *args)
  return {'params': base_layer.maybe_unbox_value(variables['params'])}


def apply(
    layer: base_layer.BaseLayer,
    variables: Any,
    *args: Any,
    seed: int = 0,
    do_eval: bool = False,
) -> Any:
  """Returns what the layer makes of `args`, in training unless `do_eval`."""
  context = base_layer.JaxContext.HParams(do_eval=do_eval)
  with base_layer.JaxContext.new_context(hparams=context):
    return layer.apply(
        variables, *args, rngs={'random': jax.random.PRNGKey(seed)}
    )
