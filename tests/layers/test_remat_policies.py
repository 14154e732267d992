"""What the backward pass keeps and what it computes again."""

import jax
from jax import numpy as jnp
import layer_testing
import numpy as np
from pax_softmoe.layers import attention
from pax_softmoe.layers import remat_policies
import pytest
import small_vit


@pytest.mark.parametrize('scan_layers', [True, False])
@pytest.mark.parametrize('remat', list(remat_policies.POLICIES))
def test_remat_changes_no_number(remat, scan_layers):
  x = small_vit.images()
  kept = small_vit.make(
      moe_layers=(2, 3), scan_layers=scan_layers, remat='none'
  )
  redone = small_vit.make(
      moe_layers=(2, 3), scan_layers=scan_layers, remat=remat
  )
  variables = layer_testing.init(kept, x)
  want, want_gradient = small_vit.loss_and_gradient(kept, variables, x)
  got, got_gradient = small_vit.loss_and_gradient(redone, variables, x)
  np.testing.assert_allclose(got, want, rtol=1e-6)
  small_vit.assert_close(got_gradient, want_gradient)


def saved_bytes(remat):
  """Returns the bytes that the forward pass keeps for the backward pass."""
  x = small_vit.images()
  vit = small_vit.make(moe_layers=(2, 3), remat=remat)
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
  x = small_vit.images()
  for moe_layers, count in (((), dense), ((0,), moe)):
    vit = small_vit.make(num_layers=1, moe_layers=moe_layers, remat=remat)
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
    attend = jax.checkpoint(attention.attend, policy=policy)
    gradient = jax.grad(lambda *x: attend(*x).sum(), (0, 1, 2))
    assert (
        len(matrix_products(jax.make_jaxpr(gradient)(q, q, q).jaxpr)) == count
    )


def test_unknown_remat_policy_is_refused():
  vit = small_vit.make(remat='some')
  with pytest.raises(ValueError, match="no remat policy 'some'; use one of"):
    layer_testing.init(vit, small_vit.images())
