"""Reads the recorded outputs of the official implementation."""

import pathlib

import numpy as np

FOLDER = pathlib.Path(__file__).parent / 'golden'


def load(name: str) -> dict[str, np.ndarray]:
  """Returns the arrays of tests/golden/NAME.npz."""
  with np.load(FOLDER / f'{name}.npz') as arrays:
    return dict(arrays)


def expert_weights(golden: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Returns the experts' weights under the names our layers give them."""
  names = {'wi': 'w1', 'bi': 'b1', 'wo': 'w2', 'bo': 'b2'}
  return {ours: golden[theirs] for ours, theirs in names.items()}


def distance(got: np.ndarray, want: np.ndarray) -> float:
  """Returns the norm of the difference over the norm of what is wanted."""
  got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
  return np.linalg.norm(got - want) / np.linalg.norm(want)
