"""Tokens Choice: its losses, and who is served first."""

import golden_data
import jax
from jax import numpy as jnp
import layer_testing
import numpy as np
from pax_softmoe import layers
from pax_softmoe.layers import classification
from praxis import base_layer
from praxis import pax_fiddle
from praxis import py_utils
import pytest
import sparse_layers
from sparse_layers import B
from sparse_layers import D
from sparse_layers import H
from sparse_layers import N


def auxiliary_losses(layer, variables, *args):
  _, state = layer.apply(
      variables,
      *args,
      rngs={'random': jax.random.PRNGKey(0)},
      mutable=['aux_loss'],
  )
  return {k: v.value for k, v in state.get('aux_loss', {}).items()}


def test_auxiliary_losses_equal_official_code_times_their_weights():
  golden = golden_data.load('tc_k2_bpr_2x32x8_E8_h16')
  layer = sparse_layers.tokens_choice(
      importance_loss_weight=2.0, gshard_loss_weight=3.0
  )
  got = auxiliary_losses(
      layer, sparse_layers.golden_variables(golden), golden['x']
  )
  assert set(got) == {'importance_loss', 'gshard_loss'}
  for name, weight in (('importance', 2), ('gshard', 3)):
    want = weight * golden[f'aux_{name}'].mean()
    np.testing.assert_allclose(got[f'{name}_loss'], want, rtol=1e-5)


def test_load_loss_is_one_of_training_with_noise():
  variables, x = sparse_layers.variables_and_inputs()
  layer = sparse_layers.tokens_choice()
  noisy = layer.clone(noise_stddev=1.0)
  assert set(auxiliary_losses(layer, variables, x)) == {'importance_loss'}
  trained = auxiliary_losses(noisy, variables, x)
  assert set(trained) == {'importance_loss', 'load_loss'}
  assert 0 < trained['load_loss'] < 0.1
  context = base_layer.JaxContext.HParams(do_eval=True)
  with base_layer.JaxContext.new_context(hparams=context):
    evaluated = auxiliary_losses(noisy, variables, x)
  assert set(evaluated) == {'importance_loss'}


def test_auxiliary_losses_are_means_over_groups_that_hold_tokens():
  variables, x = sparse_layers.variables_and_inputs()
  layer = sparse_layers.tokens_choice(gshard_loss_weight=1.0)
  paddings = jnp.zeros([B, N]).at[1].set(1)
  got = auxiliary_losses(layer, variables, x, paddings)
  want = auxiliary_losses(layer, variables, x[:1])
  for key in want:
    np.testing.assert_allclose(got[key], want[key], rtol=1e-5)


def classifier(scan_layers, weight):
  vit = pax_fiddle.Config(
      layers.VisionTransformer,
      image_size=8,
      patch_size=4,
      channels=1,
      model_dims=D,
      hidden_dims=H,
      num_heads=2,
      num_layers=2,
      moe_layers=(0, 1),
      scan_layers=scan_layers,
  )
  vit.moe_tpl.moe_tpl = pax_fiddle.Config(
      layers.TokensChoiceMoE,
      num_experts=4,
      noise_stddev=0.0,
      importance_loss_weight=weight,
      gshard_loss_weight=weight,
  )
  return layer_testing.instantiate(
      classification.ImageClassifier, vit_tpl=vit, num_classes=3
  )


def leaves_named(tree, name):
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return [leaf for path, leaf in leaves if name in str(path)]


@pytest.mark.parametrize('scan_layers', [True, False])
def test_auxiliary_losses_of_all_layers_are_trained_on(scan_layers):
  model = classifier(scan_layers, weight=0.5)
  batch = py_utils.NestedMap(
      image=jax.random.normal(jax.random.PRNGKey(0), [2, 8, 8, 1]),
      labels=jnp.eye(3)[:2],
      eval_sample_weights=jnp.ones([2]),
  )

  def losses(params):
    # Pax has both collections mutable in training.
    (metrics, _), state = model.apply(
        {'params': params}, batch, mutable=['aux_loss', 'summaries']
    )
    losses = (metrics.total_loss[0], metrics.loss[0])
    return losses, state['summaries']

  @jax.jit
  def losses_and_gradients(params):
    losses_, backward, summaries = jax.vjp(losses, params, has_aux=True)
    return losses_, summaries, backward((1.0, 0.0)), backward((0.0, 1.0))

  params = jax.jit(model.init)(jax.random.PRNGKey(0), batch)['params']
  # The head starts at zero, where nothing before it has a gradient.
  params = jax.tree_util.tree_map(
      lambda w: w + 0.01, base_layer.maybe_unbox_value(params)
  )
  (total, loss), summaries, of_total, of_loss = losses_and_gradients(params)
  # Two kinds in two layers.
  auxiliary = leaves_named(summaries, '_loss_scalar')
  assert len(auxiliary) == 4 and min(auxiliary) > 0
  np.testing.assert_allclose(total - loss, 0.5 * sum(auxiliary), rtol=1e-5)
  gates = zip(leaves_named(of_total, 'gate'), leaves_named(of_loss, 'gate'))
  assert all(golden_data.distance(got, want) > 0.1 for got, want in gates)
  # Nothing after the routers has a part in their losses.
  for got, want in zip(
      leaves_named(of_total, 'head'), leaves_named(of_loss, 'head')
  ):
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_without_priority_late_tokens_are_dropped():
  variables, _ = sparse_layers.variables_and_inputs()
  x = jnp.ones([1, 8, D]) * jnp.array([1, 2, 3, 4, 5, 6, 7, 8.0])[:, None]
  for prioritized, served in ((False, range(4)), (True, range(4, 8))):
    layer = sparse_layers.tokens_choice(
        batch_prioritized=prioritized, capacity_factor=4.0
    )
    y = layer_testing.apply(layer, variables, x)
    # All eight want the same expert, and the more the longer they are.
    assert np.flatnonzero(y[0].any(axis=-1)).tolist() == list(served)
