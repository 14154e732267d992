"""The vision transformer: parameter counts, attention, stacks, remat."""

import flax.linen
import golden_data
import jax
from jax import ad_checkpoint
from jax import numpy as jnp
import layer_testing
import numpy as np
from pax_softmoe import layers
from pax_softmoe.layers import attention
from pax_softmoe.layers import remat_policies
from praxis import pax_fiddle
import pytest

SMALL = dict(
    image_size=8,
    patch_size=4,
    channels=1,
    model_dims=8,
    hidden_dims=16,
    num_heads=2,
    num_layers=4,
)


def small_vit(**kwargs):
  tpl = pax_fiddle.Config(layers.VisionTransformer, **{**SMALL, **kwargs})
  tpl.moe_tpl.moe_tpl.set(num_experts=2, slots_per_expert=2)
  return layer_testing.instantiate(tpl)


def images(size=8, batch=2):
  return jax.random.normal(jax.random.PRNGKey(0), [batch, size, size, 1])


def test_attention_equals_flax_with_qk_norm():
  """Against flax' attention, which is what the official model uses."""
  x = jax.random.normal(jax.random.PRNGKey(0), [2, 5, 12])
  reference = flax.linen.MultiHeadDotProductAttention(
      num_heads=3, normalize_qk=True
  )
  theirs = reference.init(jax.random.PRNGKey(1), x)['params']
  # Move every weight away from its start, biases and scales too.
  theirs = jax.tree_util.tree_map(
      lambda w: w + 0.3 * jnp.cos(jnp.arange(w.size)).reshape(w.shape), theirs
  )
  ours = {'wo': theirs['out']['kernel'], 'bo': theirs['out']['bias']}
  for letter, name in (('q', 'query'), ('k', 'key'), ('v', 'value')):
    ours['w' + letter] = theirs[name]['kernel']
    ours['b' + letter] = theirs[name]['bias']
  for letter, name in (('q', 'query_ln'), ('k', 'key_ln')):
    ours[letter + '_scale'] = theirs[name]['scale']
  layer = layer_testing.instantiate(
      attention.SelfAttention, input_dims=12, num_heads=3
  )
  got = layer_testing.apply(layer, {'params': ours}, x)
  want = reference.apply({'params': theirs}, x)
  np.testing.assert_allclose(got, want, atol=2e-6)


def test_heads_that_do_not_divide_the_dims_are_refused():
  layer = layer_testing.instantiate(
      attention.SelfAttention, input_dims=10, num_heads=3
  )
  with pytest.raises(ValueError, match='10 model dims cannot be split into 3'):
    layer_testing.init(layer, jnp.zeros([1, 2, 10]))


def test_patch_embedding_equals_a_strided_convolution():
  layer = layer_testing.instantiate(
      layers.vit.PatchEmbedding, patch_size=4, channels=1, model_dims=6
  )
  x = images()
  variables = layer_testing.init(layer, x)
  kernel = variables['params']['kernel'].reshape(4, 4, 1, 6)
  want = jax.lax.conv_general_dilated(
      x, kernel, (4, 4), 'VALID', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
  )
  got = layer_testing.apply(layer, variables, x)
  np.testing.assert_allclose(got, want.reshape(2, 4, 6), atol=1e-5)


@pytest.mark.parametrize(
    'moe_layers, names',
    [
        ((), ['blocks_0']),
        ((2, 3), ['blocks_0', 'blocks_2']),
        ((1, 3), ['blocks_0', 'blocks_1', 'blocks_2', 'blocks_3']),
        ((0, 1, 2, 3), ['blocks_0']),
    ],
)
def test_runs_of_equal_blocks_are_stacks(moe_layers, names):
  params = layer_testing.init(small_vit(moe_layers=moe_layers), images())
  stacks = sorted(n for n in params['params'] if n.startswith('blocks_'))
  assert stacks == names


def unstacked(params, moe_layers):
  """Returns scanned parameters as those of the unrolled model."""
  result = {k: v for k, v in params.items() if not k.startswith('blocks_')}
  for name, value in params.items():
    if name.startswith('blocks_'):
      first = int(name.removeprefix('blocks_'))
      count = jax.tree_util.tree_leaves(value)[0].shape[0]
      for i in range(count):
        result[f'block_{first + i}'] = jax.tree_util.tree_map(
            lambda x, i=i: x[i], value['sub']
        )
  return result


def loss_and_gradient(vit, variables, x):
  def loss(params):
    y = layer_testing.apply(vit, {'params': params}, x)
    return jnp.sum(jnp.square(y) * jnp.arange(8.0))

  return jax.value_and_grad(loss)(variables['params'])


def assert_close(got, want):
  distances = jax.tree_util.tree_map(golden_data.distance, got, want)
  assert max(jax.tree_util.tree_leaves(distances)) < 1e-5, distances


def test_scanned_equals_unrolled():
  x, moe_layers = images(), (2, 3)
  scanned = small_vit(moe_layers=moe_layers)
  unrolled = small_vit(moe_layers=moe_layers, scan_layers=False)
  variables = layer_testing.init(scanned, x)
  flat = {'params': unstacked(variables['params'], moe_layers)}
  assert jax.tree_util.tree_structure(flat) == jax.tree_util.tree_structure(
      layer_testing.init(unrolled, x)
  )
  got, got_gradient = loss_and_gradient(scanned, variables, x)
  want, want_gradient = loss_and_gradient(unrolled, flat, x)
  np.testing.assert_allclose(got, want, rtol=1e-6)
  got_gradient = unstacked(got_gradient, moe_layers)
  assert_close(got_gradient, want_gradient)


@pytest.mark.parametrize('scan_layers', [True, False])
@pytest.mark.parametrize('remat', list(remat_policies.POLICIES))
def test_remat_changes_no_number(remat, scan_layers):
  x = images()
  kept = small_vit(moe_layers=(2, 3), scan_layers=scan_layers, remat='none')
  redone = small_vit(moe_layers=(2, 3), scan_layers=scan_layers, remat=remat)
  variables = layer_testing.init(kept, x)
  want, want_gradient = loss_and_gradient(kept, variables, x)
  got, got_gradient = loss_and_gradient(redone, variables, x)
  np.testing.assert_allclose(got, want, rtol=1e-6)
  assert_close(got_gradient, want_gradient)


def saved_bytes(remat):
  """Returns the bytes that the forward pass keeps for the backward pass."""
  x = images()
  vit = small_vit(moe_layers=(2, 3), remat=remat)
  params = layer_testing.init(vit, x)['params']
  loss = lambda p: layer_testing.apply(vit, {'params': p}, x).sum()
  _, backward = jax.vjp(loss, params)
  return sum(x.nbytes for x in jax.tree_util.tree_leaves(backward))


def test_remat_policies_keep_ever_more():
  kept = [saved_bytes(r) for r in ('full', 'exchange', 'products', 'none')]
  assert kept == sorted(set(kept))


def matrix_products(jaxpr):
  """Returns (inputs, outputs) shapes of all products, inner ones too."""
  found = []
  for equation in jaxpr.eqns:
    if equation.primitive.name == 'dot_general':
      found.append(tuple(v.aval.shape for v in equation.invars))
    for value in equation.params.values():
      for inner in value if isinstance(value, (tuple, list)) else [value]:
        inner = getattr(inner, 'jaxpr', inner)
        if hasattr(inner, 'eqns'):
          found += matrix_products(inner)
  return found


@pytest.mark.parametrize(
    'remat, dense, moe',
    [
        # The patches and their gradient, then forward and backward of a block:
        # three projections, scores, values, outputs; an MLP of two products or
        # scores of slots, two mixtures and experts of two. Each product has two
        # gradients, but attention's scores are computed a third time.
        ('none', 2 + 8 + 16 + 1, 2 + 11 + 22 + 1),
        # Again: projections and attention's outputs, and a dense MLP's first.
        ('products', 2 + 8 + 16 + 1 + 5, 2 + 11 + 22 + 1 + 4),
        # Again: all but the last product of a dense block and of a mixture,
        # whose outputs are kept: then the second of the experts, too.
        ('exchange', 2 + 8 + 16 + 1 + 7, 2 + 11 + 22 + 1 + 8),
        ('full', 2 + 8 + 16 + 1 + 7, 2 + 11 + 22 + 1 + 10),
    ],
)
def test_products_of_a_gradient_are_those_that_are_not_kept(remat, dense, moe):
  x = images()
  for moe_layers, count in (((), dense), ((0,), moe)):
    vit = small_vit(num_layers=1, moe_layers=moe_layers, remat=remat)
    params = layer_testing.init(vit, x)['params']
    loss = lambda p, vit=vit: layer_testing.apply(vit, {'params': p}, x).sum()
    found = matrix_products(jax.make_jaxpr(jax.grad(loss))(params).jaxpr)
    assert len(found) == count


def test_attention_is_not_computed_again_where_its_sums_are_kept():
  """Scores and values forward, scores and four gradients backward: seven."""
  q = jnp.ones([2, 3, 4, 5])
  for names, count in (
      (['attention_context', 'attention_log_sum'], 7),
      (['attention_context'], 9),
  ):
    policy = jax.checkpoint_policies.save_only_these_names(*names)
    attend = ad_checkpoint.checkpoint(attention.attend, policy=policy)
    gradient = jax.grad(lambda *x: attend(*x).sum(), (0, 1, 2))
    assert (
        len(matrix_products(jax.make_jaxpr(gradient)(q, q, q).jaxpr)) == count
    )


def test_scanned_layers_report_summaries_one_by_one():
  vit = small_vit(moe_layers=(2, 3))
  x = images()
  variables = layer_testing.init(vit, x)
  _, state = vit.apply(variables, x, mutable=['summaries'])
  moe = state['summaries']['blocks_2']['sub']['feed_forward']['moe']
  assert len(moe['router_scale_scalar']) == 2


def test_experts_of_different_layers_start_differently():
  params = layer_testing.init(small_vit(moe_layers=(2, 3)), images())['params']
  moe = params['blocks_2']['sub']['feed_forward']['moe']
  wi = np.asarray(moe['experts']['wi'])
  assert (wi[0] != wi[1]).all()
  assert (wi[:, 0] == wi[:, 1]).all()


def test_patch_that_does_not_divide_the_image_is_refused():
  with pytest.raises(ValueError, match='images of 8 pixels cannot be cut'):
    layer_testing.init(small_vit(patch_size=3), images())


def test_moe_layer_beyond_the_last_block_is_refused():
  with pytest.raises(ValueError, match='there is no block 4 to be MoE'):
    layer_testing.init(small_vit(moe_layers=(4,)), images())


def test_unknown_remat_policy_is_refused():
  vit = small_vit(remat='some')
  with pytest.raises(ValueError, match="no remat policy 'some'; use one of"):
    layer_testing.init(vit, images())
