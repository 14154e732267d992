"""A small vision transformer, for tests of its parts."""

import golden_data
import jax
from jax import numpy as jnp
import layer_testing
from pax_softmoe import layers
from praxis import pax_fiddle

SMALL = dict(
    image_size=8,
    patch_size=4,
    channels=1,
    model_dims=8,
    hidden_dims=16,
    num_heads=2,
    num_layers=4,
)


def make(**kwargs):
  """Returns the model, with some fields changed."""
  return layer_testing.instantiate(template(**kwargs))


def template(**kwargs):
  """Returns the template of the model, with some fields changed."""
  tpl = pax_fiddle.Config(layers.VisionTransformer, **{**SMALL, **kwargs})
  tpl.moe_tpl.moe_tpl.set(num_experts=2, slots_per_expert=2)
  return tpl


def images(size=8, batch=2):
  """Returns random grey images."""
  return jax.random.normal(jax.random.PRNGKey(0), [batch, size, size, 1])


def loss_and_gradient(vit, variables, x):
  """Returns a loss of the features, and the gradient of all weights."""

  def loss(params):
    y = layer_testing.apply(vit, {'params': params}, x)
    return jnp.sum(jnp.square(y) * jnp.arange(8.0))

  return jax.value_and_grad(loss)(variables['params'])


def assert_close(got, want):
  """Asserts that trees of arrays are equal within float32."""
  distances = jax.tree_util.tree_map(golden_data.distance, got, want)
  assert max(jax.tree_util.tree_leaves(distances)) < 1e-5, distances
