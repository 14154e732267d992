"""Few-shot linear evaluation: how well a straight line reads the features.

For each class of a data set, k training images ("shots") give the features of a
ridge regression onto -1 and 1, one output a class, which then classifies all
test images (vmoe `evaluate/fewshot.py`):

  * features are whitened by the shots' mean and standard deviation + 1e-5, and
    get a constant 100 besides, a bias nearly free of the penalty;
  * the penalties are 2^-10 … 2^19, and the one reported is one for each k, that
    with the best mean rank of test accuracies over all data sets.

It is chosen on test images, with one number for all data sets: accuracies are
for comparing models with each other.

Letters: n shots in all, m test images, d features, c classes.
"""

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses

import numpy as np
from pax_softmoe import finite

PENALTIES = tuple(2.0**i for i in range(-10, 20))
SHOTS = (1, 5, 10, 25)
_CONSTANT = 100.0
_EPSILON = 1e-5


@dataclasses.dataclass(frozen=True)
class Features:
  """Features of one data set.

  Attributes:
    train: [images, d].
    train_labels: [images] int.
    test: [m, d].
    test_labels: [m] int.
  """

  train: np.ndarray
  train_labels: np.ndarray
  test: np.ndarray
  test_labels: np.ndarray


@dataclasses.dataclass(frozen=True)
class Result:
  """What came out.

  Attributes:
    accuracies: of each data set, by its name and shots.
    penalties: the chosen one, by shots.
  """

  accuracies: Mapping[str, Mapping[int, float]]
  penalties: Mapping[int, float]


def evaluate(
    sets: Mapping[str, Features], shots: Sequence[int] = SHOTS, seed: int = 0
) -> Result:
  """Evaluates features on data sets.

  Args:
    sets: features by the name of the data set.
    shots: training images of each class, several numbers to try.
    seed: of which images those are; of k and more shots, k are the same.

  Raises:
    ValueError: a class has fewer training images than shots, these are none,
      or features are not finite; the message says how many and which.
  """
  if min(shots, default=0) < 1:
    raise ValueError(f'{tuple(shots)} shots; give one or more, each 1 or more')
  for name, x in sets.items():
    for part, features in (('training', x.train), ('test', x.test)):
      finite.require_none(
          finite.bad_rows(features),
          len(features),
          f'{part} images of {name} have features',
          'nothing can be learned from these, so give an earlier checkpoint',
      )
  accuracies, penalties = {name: {} for name in sets}, {}
  for k in shots:
    rows = {name: _accuracies(name, x, k, seed) for name, x in sets.items()}
    best = best_penalty(list(rows.values()))
    penalties[k] = PENALTIES[best]
    for name, row in rows.items():
      accuracies[name][k] = float(row[best])
  return Result(accuracies, penalties)


def best_penalty(accuracies: Sequence[np.ndarray]) -> int:
  """Returns the index of the penalty with the highest mean rank.

  Args:
    accuracies: for each data set one for each penalty. Of equal ones the later
      ranks higher.
  """
  ranks = [np.argsort(np.argsort(a, kind='stable')) for a in accuracies]
  return int(np.argmax(np.mean(ranks, axis=0)))


def choose(labels: np.ndarray, shots: int, seed: int) -> np.ndarray:
  """Returns the indices of `shots` images of each class, at random.

  Args:
    labels: [images] int.
    shots: images of each class.
    seed: which ones.

  Raises:
    ValueError: a class has fewer.
  """
  rng = np.random.default_rng(seed)
  chosen = []
  for c in range(labels.max() + 1):
    of_class = rng.permutation(np.flatnonzero(labels == c))
    if len(of_class) < shots:
      raise ValueError(
          f'class {c} has {len(of_class)} training images, too few for'
          f' {shots} shots'
      )
    chosen.append(of_class[:shots])
  return np.concatenate(chosen)


def _accuracies(name: str, x: Features, shots: int, seed: int) -> np.ndarray:
  """Returns the test accuracy of one data set for each penalty."""
  try:
    chosen = choose(x.train_labels, shots, seed)
  except ValueError as error:
    raise ValueError(f'few-shot data {name}: {error}') from None
  found = ridge_scores(x.train[chosen], x.train_labels[chosen], x.test)
  return np.array([(s.argmax(1) == x.test_labels).mean() for s in found])


def ridge_scores(
    train: np.ndarray,
    labels: np.ndarray,
    test: np.ndarray,
    penalties: Sequence[float] = PENALTIES,
) -> Iterator[np.ndarray]:
  """Gives the regression's outputs on test images for each penalty.

  With X [n, d] the whitened features and Y [n, c] the targets, the weights
  W = (X^T X + p)^-1 X^T Y = X^T (X X^T + p)^-1 Y minimize |XW - Y|² + p |W|².
  One eigendecomposition, of the smaller of both matrices, serves all p.

  Args:
    train: [n, d] features of the shots.
    labels: [n] int.
    test: [m, d] features.
    penalties: all p.

  Returns:
    [m, c] for each p.
  """
  x = np.asarray(train, np.float64)
  mean, stddev = x.mean(0), x.std(0) + _EPSILON

  def prepared(features):
    whitened = (np.asarray(features, np.float64) - mean) / stddev
    return np.pad(whitened, [(0, 0), (0, 1)], constant_values=_CONSTANT)

  x, test = prepared(train), prepared(test)
  y = 2.0 * np.eye(labels.max() + 1)[labels] - 1.0
  is_tall = x.shape[0] >= x.shape[1]
  values, vectors = np.linalg.eigh(x.T @ x if is_tall else x @ x.T)
  left = test @ (vectors if is_tall else x.T @ vectors)
  right = vectors.T @ (x.T @ y if is_tall else y)
  for p in penalties:
    yield left / (values + p) @ right
