"""Estimates the parts of an H/14 block on one TPU v4 chip, forward and backward.

    python -m pax_softmoe.bench.measure_block

16 images of 256 tokens in bfloat16, 128 slots an image for the two experts that
a chip of a v4-128 holds, nothing exchanged. Milliseconds are the compiler's
estimate, not a measurement.
"""

import os

if __name__ == '__main__':
  os.environ['JAX_PLATFORMS'] = 'cpu'
  os.environ['TPU_SKIP_MDS_QUERY'] = '1'

# The variables must be set before JAX looks for devices.
# ruff: noqa: E402
import jax
from jax import numpy as jnp
import numpy as np
from pax_softmoe.layers import attention
from pax_softmoe.layers import experts
from pax_softmoe.layers import feed_forward
from pax_softmoe.layers import vit
from pax_softmoe.tpu import executable
from pax_softmoe.tpu import hardware
from pax_softmoe.tpu import libtpu
from praxis import base_layer
from praxis import pax_fiddle

B, N, D, H, HEADS = 16, 256, 1280, 5120, 16


def milliseconds(tpl: pax_fiddle.Config, shape: tuple[int, ...]) -> float:
  """Returns the estimate of a layer on inputs of that shape."""
  device = libtpu.topology_devices('v4-8')[0]
  mesh = jax.sharding.Mesh(np.array([device]), ('x',))
  everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
  tpl = tpl.set(name='layer', dtype=jnp.float32, fprop_dtype=jnp.bfloat16)
  layer = base_layer.instantiate(tpl)

  def on_chip(dims):
    return jax.ShapeDtypeStruct(dims, jnp.bfloat16, sharding=everywhere)

  def step(weights, x, gradient):
    def apply(weights, x):
      context = base_layer.JaxContext.HParams(do_eval=False)
      with base_layer.JaxContext.new_context(hparams=context):
        rngs = {'random': jax.random.PRNGKey(0)}
        return layer.apply({'params': weights}, x, rngs=rngs)

    outputs, pull = jax.vjp(apply, weights, x)
    return outputs, pull(gradient)

  x = on_chip(shape)
  specs = layer.abstract_init_with_metadata(x)['params']
  weights = jax.tree_util.tree_map(lambda w: on_chip(w.shape), specs)
  compiled = jax.jit(step).lower(weights, x, x).compile()
  chip = hardware.find_slice('v4-8').chip
  return 1e3 * executable.read(compiled).compute_seconds(chip)


def main() -> None:
  sizes = {'input_dims': D, 'hidden_dims': H}
  dense = pax_fiddle.Config(feed_forward.DenseFeedForward)
  parts = {
      'attention': (
          pax_fiddle.Config(
              attention.SelfAttention, input_dims=D, num_heads=HEADS
          ),
          (B, N, D),
      ),
      'norm, dense MLP, residual': (dense.clone().set(**sizes), (B, N, D)),
      'two experts of 1,024 slots': (
          pax_fiddle.Config(experts.ExpertMlps, num_experts=2, **sizes),
          (2, B * 64, 1, D),
      ),
      'dense block': (
          pax_fiddle.Config(
              vit.EncoderBlock, num_heads=HEADS, feed_forward_tpl=dense, **sizes
          ),
          (B, N, D),
      ),
  }
  for name, (tpl, shape) in parts.items():
    print(f'{milliseconds(tpl, shape):6.3f} ms  {name}', flush=True)


if __name__ == '__main__':
  main()
