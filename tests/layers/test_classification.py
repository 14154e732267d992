"""The head and the loss, against hand-worked values and NumPy."""

import math

import jax
from jax import numpy as jnp
import layer_testing
import numpy as np
from pax_softmoe.layers import classification
from praxis import py_utils
import pytest
import small_vit

NestedMap = py_utils.NestedMap


def classifier(**fields):
  vit = small_vit.template()
  return layer_testing.instantiate(
      classification.ImageClassifier, vit_tpl=vit, num_classes=3, **fields
  )


def metrics(loss, logits, labels, weights):
  batch = NestedMap(
      image=small_vit.images(batch=len(labels)),
      labels=jnp.array(labels, jnp.float32),
      eval_sample_weights=jnp.array(weights, jnp.float32),
  )
  model = classifier(loss=loss)
  variables = layer_testing.init(model, batch)
  predictions = NestedMap(logits=jnp.array(logits, jnp.float32))
  got, _ = model.apply(variables, predictions, batch, method='compute_loss')
  return {name: float(value) for name, (value, _) in got.items()}


def test_softmax_loss_by_hand():
  # ln(1 + 1 + 2) - ln 2 = ln 2, and ln 3; the second image only fills up.
  logits = [[0, 0, math.log(2)], [0, 0, 0], [0, 0, 0]]
  labels = [[0, 0, 1], [1, 0, 0], [1, 0, 0]]
  got = metrics('softmax', logits, labels, [1, 0, 1])
  assert got['loss'] == pytest.approx((math.log(2) + math.log(3)) / 2)
  assert got['total_loss'] == pytest.approx(got['loss'])
  assert got['accuracy'] == 1


def test_sigmoid_loss_is_summed_over_classes_and_takes_several_labels():
  logits = [[0, 0, 0], [math.log(3), 0, 0]]
  labels = [[1, 1, 0], [0, 1, 0]]
  got = metrics('sigmoid', logits, labels, [1, 1])
  # Each class at zero costs ln 2; the wrong one at ln 3 costs ln 4.
  want = (3 * math.log(2) + math.log(4) + 2 * math.log(2)) / 2
  assert got['loss'] == pytest.approx(want)
  assert got['accuracy'] == 0.5


def test_the_head_starts_at_the_prior():
  head = layer_testing.instantiate(
      classification.ClassificationHead, input_dims=4, num_classes=5
  )
  variables = layer_testing.init(head, jnp.zeros([1, 4]))
  logits = layer_testing.apply(
      head, variables, jax.random.normal(jax.random.PRNGKey(0), [2, 4])
  )
  np.testing.assert_allclose(jax.nn.sigmoid(logits), 1 / 6, rtol=1e-5)
  np.testing.assert_allclose(jax.nn.softmax(logits), 1 / 5, rtol=1e-5)


def test_an_unknown_loss_is_refused():
  with pytest.raises(ValueError, match="loss is 'mse'; use one of softmax"):
    layer_testing.init(
        classifier(loss='mse'),
        NestedMap(image=small_vit.images(), labels=jnp.eye(3)[:2]),
    )
