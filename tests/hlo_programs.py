"""Small programs whose arithmetic and communication are known.

    python hlo_programs.py FOLDER

compiles them for eight devices and writes each to the folder. The
mesh is 2 x 4 and its axes are a and b.
"""

import pathlib
import sys

import jax
from jax import lax
from jax import numpy as jnp
from jax.experimental import shard_map
import numpy as np
from pax_softmoe.hlo import module

P = jax.sharding.PartitionSpec


def mesh_of(devices):
  return jax.sharding.Mesh(np.array(devices).reshape(2, 4), ('a', 'b'))


def spec(mesh, shape, *split, dtype=jnp.float32):
  sharding = jax.sharding.NamedSharding(mesh, P(*split))
  return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)


def constrained(mesh, x, *split):
  sharding = jax.sharding.NamedSharding(mesh, P(*split))
  return lax.with_sharding_constraint(x, sharding)


def per_device(mesh, f, inputs, outputs):
  return shard_map.shard_map(
      f, mesh=mesh, in_specs=inputs, out_specs=outputs, check_rep=False
  )


def scanned(x, w, length):
  return lax.scan(lambda c, _: (jnp.tanh(c @ w), None), x, None, length)[0]


def nested(x, w):
  """3 turns of (one product, and 5 turns of one product)."""
  turn = lambda c, _: (scanned(c @ w, w, 5), None)
  return lax.scan(turn, x, None, 3)[0]


def count_up_to_20_by_3(x, w):
  """Turns with 2, 5, 8, 11, 14, 17, 20: seven times."""
  loop = lax.while_loop(
      lambda s: s[0] <= 20, lambda s: (s[0] + 3, jnp.tanh(s[1] @ w)), (2, x)
  )
  return loop[1]


def count_down_from_9(x, w):
  """Turns with 9, 7, 5, 3: four times. The bound travels with the loop."""
  loop = lax.while_loop(
      lambda s: s[0] > s[2],
      lambda s: (s[0] - 2, jnp.tanh(s[1] @ w), s[2]),
      (9, x, jnp.int32(1)),
  )
  return loop[1]


def all_to_all_in_scan(x):
  turn = lambda c, _: (lax.all_to_all(c, 'b', 1, 1, tiled=True) + 1, None)
  return lax.scan(turn, x, None, 6)[0]


def programs(mesh):
  """Yields (name, function, arguments)."""
  f32 = lambda shape, *split: spec(mesh, shape, *split)
  square = f32((64, 64))
  yield 'matmul', jnp.matmul, (f32((512, 256), ('a', 'b')), f32((256, 128)))
  yield 'matmul_whole', jnp.matmul, (f32((512, 256)), f32((256, 128)))
  yield 'batched', lambda x, w: jnp.einsum('ebd,edh->ebh', x, w), (
      f32((8, 16, 32), 'a'),
      f32((8, 32, 24), 'a'),
  )
  yield 'strided_convolution', lambda x, w: lax.conv_general_dilated(
      x, w, (2, 2), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
  ), (f32((4, 8, 8, 16)), f32((3, 3, 16, 32)))
  yield 'scan', lambda x, w: scanned(x, w, 7), (square, square)
  yield 'nested', nested, (square, square)
  yield 'count_up', count_up_to_20_by_3, (square, square)
  yield 'count_down', count_down_from_9, (square, square)
  yield 'unknown_loop', lambda n, x, w: lax.fori_loop(
      0, n, lambda _, c: jnp.tanh(c @ w), x
  ), (jax.ShapeDtypeStruct((), jnp.int32), square, square)
  yield 'conditional', lambda p, x, w: lax.cond(
      p > 0, lambda x: x @ w, lambda x: (x @ w) @ w, x
  ), (f32(()), square, square)
  yield 'elementwise', lambda x: jnp.sum(jnp.exp(x) * x), (f32((8, 128)),)

  x = f32((16, 64, 256), 'a', 'b')
  whole = f32((16, 64, 256), 'a')
  yield 'all_to_all', per_device(
      mesh,
      lambda x: lax.all_to_all(x, 'b', 2, 1, tiled=True),
      P('a', 'b'),
      P('a', None, 'b'),
  ), (x,)
  yield 'all_to_all_in_scan', per_device(
      mesh, all_to_all_in_scan, P('a', 'b'), P('a', 'b')
  ), (
      f32((16, 64, 256), 'a', 'b'),
  )
  yield 'all_to_all_bfloat16', per_device(
      mesh,
      lambda x: lax.all_to_all(x, 'b', 2, 1, tiled=True),
      P('a', 'b'),
      P('a', None, 'b'),
  ), (spec(mesh, (16, 64, 256), 'a', 'b', dtype=jnp.bfloat16),)
  yield 'all_gather', per_device(
      mesh,
      lambda x: lax.all_gather(x, 'a', tiled=True),
      P('a', 'b'),
      P(None, 'b'),
  ), (x,)
  yield 'all_reduce', per_device(
      mesh, lambda x: lax.psum(x, 'b'), P('a', 'b'), P('a')
  ), (x,)
  yield 'all_reduce_bfloat16', per_device(
      mesh, lambda x: lax.psum(x, ('a', 'b')), P('a', 'b'), P()
  ), (
      spec(mesh, (16, 64, 256), 'a', 'b', dtype=jnp.bfloat16),
  )
  yield 'reduce_scatter', per_device(
      mesh,
      lambda x: lax.psum_scatter(x, 'b', scatter_dimension=1, tiled=True),
      P('a'),
      P('a', 'b'),
  ), (whole,)
  yield 'permute', per_device(
      mesh,
      lambda x: lax.ppermute(x, 'b', [(i, (i + 1) % 4) for i in range(4)]),
      P('a', 'b'),
      P('a', 'b'),
  ), (x,)
  yield 'gather_by_constraint', lambda x: constrained(mesh, x * 2, None, 'b'), (
      f32((16, 64), 'a', 'b'),
  )
  yield 'gather_as_sum', per_device(
      mesh,
      lambda x: lax.psum(
          lax.dynamic_update_slice_in_dim(
              jnp.zeros((64, 32)), x, 16 * lax.axis_index('b'), 0
          ),
          'b',
      ),
      P('b'),
      P(),
  ), (f32((64, 32), 'b'),)
  yield 'sum_of_slices', per_device(
      mesh,
      lambda x, i: lax.psum(
          lax.dynamic_update_slice_in_dim(jnp.zeros((64, 32)), x, i[0], 0), 'b'
      ),
      (P('b'), P('b')),
      P(),
  ), (f32((64, 32), 'b'), spec(mesh, (4,), 'b', dtype=jnp.int32))


def main(folder):
  mesh = mesh_of(jax.devices())
  for name, function, arguments in programs(mesh):
    compiled = jax.jit(function).lower(*arguments).compile()
    serialized = module.of(compiled).proto.SerializeToString()
    (pathlib.Path(folder) / f'{name}.hlo').write_bytes(serialized)


if __name__ == '__main__':
  main(sys.argv[1])
