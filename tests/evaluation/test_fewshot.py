"""Few-shot linear evaluation, against scikit-learn."""

import numpy as np
from pax_softmoe.evaluation import fewshot
import pytest
from sklearn import linear_model


def data(images, dims, classes=3, seed=0):
  rng = np.random.RandomState(seed)
  labels = np.arange(images) % classes
  centres = np.random.RandomState(9).normal(size=[classes, dims])
  features = centres[labels] + rng.normal(size=[images, dims]) * 0.8
  return (features * 3 + 5).astype(np.float32), labels


# More images than features, and fewer: two ways to the same result.
@pytest.mark.parametrize('images, dims', [(60, 8), (12, 40)])
@pytest.mark.parametrize('penalty', [2.0**-10, 1.0, 2.0**19])
def test_scores_equal_those_of_scikit_learn(images, dims, penalty):
  x, labels = data(images, dims)
  test, _ = data(50, dims, seed=1)
  (got,) = fewshot.ridge_scores(x, labels, test, [penalty])

  def prepared(features):
    whitened = (features - x.astype(float).mean(0)) / (
        x.astype(float).std(0) + 1e-5
    )
    return np.hstack([whitened, np.full([len(features), 1], 100.0)])

  targets = np.where(labels[:, None] == np.arange(3), 1, -1)
  # The bias is a feature, penalized like the others.
  ridge = linear_model.Ridge(alpha=penalty, fit_intercept=False, solver='svd')
  ridge.fit(prepared(x), targets)
  np.testing.assert_allclose(
      got, ridge.predict(prepared(test)), rtol=1e-6, atol=1e-8
  )


def test_constant_is_nearly_a_free_bias():
  x, labels = data(60, 8)
  test, _ = data(50, 8, seed=1)
  (got,) = fewshot.ridge_scores(x, labels, test, [4.0])
  mean, stddev = x.mean(0), x.std(0) + 1e-5
  targets = np.where(labels[:, None] == np.arange(3), 1, -1)
  ridge = linear_model.Ridge(alpha=4.0).fit((x - mean) / stddev, targets)
  want = ridge.predict((test - mean) / stddev)
  np.testing.assert_allclose(got, want, atol=1e-3)


def test_shots_are_of_every_class_and_nested():
  labels = np.array([0, 1, 2] * 10 + [0] * 50)
  few, many = fewshot.choose(labels, 2, seed=4), fewshot.choose(labels, 5, 4)
  np.testing.assert_array_equal(np.bincount(labels[few]), [2, 2, 2])
  assert len(set(many)) == 15
  assert set(few) < set(many)
  assert set(few) != set(fewshot.choose(labels, 2, seed=5))


def test_too_few_images_are_named():
  x, labels = data(9, 4)
  sets = {'pets': fewshot.Features(x, labels, x, labels)}
  with pytest.raises(ValueError, match='pets: class 0 has 3 training images'):
    fewshot.evaluate(sets, shots=[4])


def test_one_penalty_for_all_data_sets_is_the_best_in_mean_rank():
  # Best alone: the first of the left set, the second of the right one.
  left = np.array([0.9, 0.5, 0.8])
  right = np.array([0.1, 0.4, 0.3])
  assert fewshot.best_penalty([left]) == 0
  assert fewshot.best_penalty([right]) == 1
  # Ranks 2 0 1 and 0 2 1: all alike; a third set decides.
  assert fewshot.best_penalty([left, right, np.array([0.1, 0.2, 0.3])]) == 2


def test_clusters_are_told_apart_and_noise_is_not():
  x, labels = data(300, 8)
  test, test_labels = data(300, 8, seed=1)
  noise = np.random.RandomState(2).normal(size=[600, 8])
  result = fewshot.evaluate(
      {
          'clusters': fewshot.Features(x, labels, test, test_labels),
          'noise': fewshot.Features(
              noise[:300], labels, noise[300:], test_labels
          ),
      },
      shots=[1, 25],
  )
  assert result.accuracies['clusters'][25] > 0.9
  assert abs(result.accuracies['noise'][25] - 1 / 3) < 0.1
  assert set(result.penalties) == {1, 25}
