"""float64 to 1e-12, in outputs and all gradients, on shapes of many kinds."""

import functools

import golden_data
import jax
from jax import numpy as jnp
import layer_testing
import numpy as np
from pax_softmoe import layers
from pax_softmoe.layers import attention
from pax_softmoe.layers import feed_forward
import plain_layers
from praxis import pax_fiddle
import pytest
import versions

D, H = 6, 10


@pytest.fixture(autouse=True)
def _float64():
  with versions.enable_x64():
    yield


def draw(*shape, seed=0):
  return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def expert_weights(e):
  shapes = dict(wi=[e, D, H], bi=[e, H], wo=[e, H, D], bo=[e, D])
  return {
      name: draw(*shape, seed=i)
      for i, (name, shape) in enumerate(shapes.items())
  }


def soft_weights(e, p):
  return {
      'phi': draw(D, e, p, seed=8),
      'scale': jnp.asarray(1.7),
      'experts': expert_weights(e),
  }


def with_gradients(function, weights, x):
  """Returns outputs, and gradients of a sum of them that does not cancel."""

  @jax.jit
  def run(weights, x):
    y, pull = jax.vjp(function, weights, x)
    return y, *pull(jnp.asarray(draw(*y.shape, seed=9)))

  return run(weights, x)


def assert_equal(layer, reference, weights, x):
  ours = lambda w, x: layer_testing.apply(layer, {'params': w}, x, do_eval=True)
  got = with_gradients(ours, weights, x)
  want = with_gradients(reference, weights, x)
  sizes = jax.tree_util.tree_map(np.linalg.norm, want)
  if 'scale' in weights:
    # A sum that cancels, and has the size of its terms.
    terms = np.abs(weights['phi'] * want[1]['phi']).sum() / weights['scale']
    sizes[1]['scale'] = max(sizes[1]['scale'], terms)
  names = jax.tree_util.tree_leaves_with_path(want)
  for (path, y), x, size in zip(
      names, *map(jax.tree_util.tree_leaves, (got, sizes)), strict=True
  ):
    assert x.dtype == jnp.float64, path
    assert np.isfinite(y).all() and size > 0, path
    assert np.linalg.norm(x - y) <= 1e-12 * size, path


def layer_of(cls, **fields):
  return layer_testing.instantiate(
      cls, dtype=jnp.float64, fprop_dtype=jnp.float64, **fields
  )


@pytest.mark.parametrize(
    'b, n, e, p, fields',
    [
        (2, 196, 16, 12, {}),
        (2, 9, 128, 1, {}),
        (1, 9, 8, 16, {}),
        (3, 1, 4, 2, {}),
        (2, 7, 3, 5, {'normalize': False}),
        (2, 7, 3, 5, {'dispatch': 'uniform'}),
        (2, 7, 3, 5, {'combine': 'uniform'}),
    ],
)
def test_soft_moe(b, n, e, p, fields):
  layer = layer_of(
      layers.SoftMoE,
      input_dims=D,
      hidden_dims=H,
      num_experts=e,
      slots_per_expert=p,
      **fields,
  )
  weights, x = soft_weights(e, p), draw(b, n, D, seed=7)
  reference = functools.partial(plain_layers.soft_moe, **fields)
  assert_equal(layer, reference, weights, x)


def test_soft_moe_of_one_token_and_one_slot_is_its_expert():
  layer = layer_of(layers.SoftMoE, input_dims=D, hidden_dims=H, num_experts=1)
  weights, x = soft_weights(1, 1), draw(1, 1, D, seed=7)
  got = layer_testing.apply(layer, {'params': weights}, x)
  want = plain_layers.experts(weights['experts'], x[:, None])[:, 0]
  assert golden_data.distance(got, want) < 1e-12


@pytest.mark.parametrize(
    'name', ['soft_2x16x8_n4p4_h16_f64_norm', 'soft_tiny_eps_f32_norm']
)
def test_soft_moe_on_recorded_outputs_of_the_official_code(name):
  golden = golden_data.load(name)
  d, e, p = golden['phi'].shape
  layer = layer_of(
      layers.SoftMoE,
      input_dims=d,
      hidden_dims=golden['w1'].shape[-1],
      num_experts=e,
      slots_per_expert=p,
  )
  weights = {
      'phi': golden['phi'],
      'scale': golden['scale'],
      'experts': golden_data.expert_weights(golden),
  }
  weights = jax.tree_util.tree_map(lambda a: jnp.asarray(a, float), weights)

  def loss(w, x):
    y = layer_testing.apply(layer, {'params': w}, x)
    return jnp.sum(y * golden['c']), y

  (gw, gx), y = jax.jit(jax.grad(loss, (0, 1), has_aux=True))(
      weights, jnp.asarray(golden['x'], float)
  )
  tolerance = 1e-12 if 'f64' in name else 1e-5
  terms = np.abs(golden['phi'] * golden['gphi']).sum() / golden['scale']
  assert abs(gw['scale'] - golden['gscale']) < tolerance * terms
  got = {'y': y, 'gx': gx, 'gphi': gw['phi']}
  for ours, theirs in {'wi': 'w1', 'bi': 'b1', 'wo': 'w2', 'bo': 'b2'}.items():
    got['g' + theirs] = gw['experts'][ours]
  for key, value in got.items():
    assert golden_data.distance(value, golden[key]) < tolerance, key


@pytest.mark.parametrize('n, e', [(24, 4), (9, 32), (1, 3)])
def test_experts_choice(n, e):
  layer = layer_of(
      layers.ExpertsChoiceMoE, input_dims=D, hidden_dims=H, num_experts=e
  )
  capacity = min(n, max(1, round(n / e)))
  serve = functools.partial(plain_layers.experts_choose, capacity=capacity)
  weights = {'gate': draw(D, e, seed=8), 'experts': expert_weights(e)}
  reference = functools.partial(plain_layers.sparse_moe, serve=serve)
  assert_equal(layer, reference, weights, draw(2, n, D, seed=7))


@pytest.mark.parametrize('n, e, k', [(24, 4, 1), (24, 4, 2), (9, 32, 2)])
def test_tokens_choice(n, e, k):
  layer = layer_of(
      layers.TokensChoiceMoE,
      input_dims=D,
      hidden_dims=H,
      num_experts=e,
      num_selected_experts=k,
      capacity_multiple=1,
  )
  serve = functools.partial(
      plain_layers.tokens_choose, num_selected=k, capacity=-(-n * k // e)
  )
  weights = {'gate': draw(D, e, seed=8), 'experts': expert_weights(e)}
  reference = functools.partial(plain_layers.sparse_moe, serve=serve)
  assert_equal(layer, reference, weights, draw(2, n, D, seed=7))


@pytest.mark.parametrize('routing', ['identity', 'uniform'])
def test_fixed_routing(routing):
  layer = layer_of(
      layers.FixedRoutingMoE,
      input_dims=D,
      hidden_dims=H,
      num_experts=4,
      slots_per_expert=3,
      routing=routing,
  )

  def reference(w, x):
    if routing == 'identity':
      slots = x.reshape(2, 4, 3, D)
      return plain_layers.experts(w['experts'], slots).reshape(x.shape)
    slots = jnp.broadcast_to(x.mean(1)[:, None, None], (2, 4, 3, D))
    outputs = plain_layers.experts(w['experts'], slots).mean((1, 2))
    return jnp.broadcast_to(outputs[:, None], x.shape)

  weights = {'experts': expert_weights(4)}
  assert_equal(layer, reference, weights, draw(2, 12, D, seed=7))


def test_attention():
  layer = layer_of(attention.SelfAttention, input_dims=D, num_heads=2)
  theta = {f'w{x}': draw(D, 2, D // 2, seed=i) for i, x in enumerate('qkv')}
  # A bias of keys moves all scores of a query alike: its gradient is zero, but
  # for QK-norm.
  theta |= {f'b{x}': draw(2, D // 2, seed=i + 3) for i, x in enumerate('qkv')}
  theta |= {'wo': draw(2, D // 2, D, seed=6), 'bo': draw(D, seed=7)}
  theta |= {f'{x}_scale': 1 + draw(D // 2, seed=8) for x in 'qk'}
  assert_equal(layer, plain_layers.attention, theta, draw(2, 9, D, seed=10))


def test_layer_norm():
  theta = {'w': {'scale': 1 + draw(D), 'bias': draw(D, seed=1)}}
  layer = layer_of(feed_forward.LayerNorm, dim=D)
  ours = lambda t, x: layer_testing.apply(layer, {'params': t['w']}, x)
  x = 2 + draw(2, 9, D, seed=2)
  got = with_gradients(ours, theta, x)
  want = with_gradients(lambda t, x: plain_layers.norm(t['w'], x), theta, x)
  distances = jax.tree_util.tree_map(golden_data.distance, got, want)
  assert max(jax.tree_util.tree_leaves(distances)) < 1e-12


def test_vision_transformer():
  tpl = pax_fiddle.Config(
      layers.VisionTransformer,
      image_size=6,
      patch_size=2,
      channels=2,
      model_dims=D,
      hidden_dims=H,
      num_heads=2,
      num_layers=2,
      moe_layers=(1,),
      scan_layers=False,
  )
  tpl.moe_tpl.moe_tpl.set(num_experts=3, slots_per_expert=2)
  vit = layer_of(tpl)
  images = draw(2, 6, 6, 2)
  start = layer_testing.init(vit, images)['params']
  leaves, structure = jax.tree_util.tree_flatten(start)
  # Away from the start, so that each weight has a part in the outputs.
  leaves = [
      x + 0.3 * draw(*x.shape, seed=i) for i, x in enumerate(leaves, start=20)
  ]
  weights = jax.tree_util.tree_unflatten(structure, leaves)
  reference = lambda w, x: plain_layers.vit(w, x, patch=2)
  assert_equal(vit, reference, dict(weights), images)
