"""Numbers that are not finite are named."""

from jax import numpy as jnp
import numpy as np
from pax_softmoe import finite


def test_rows_and_arrays_that_are_not_finite():
  x = np.array([[1, 2], [np.nan, 0], [3e38, -3e38], [0, -np.inf]], np.float32)
  assert finite.bad_rows(x).tolist() == [1, 3]
  y = np.array([0.0, 0.0, np.inf, np.nan])
  assert finite.bad_rows(x, y).tolist() == [1, 2, 3]
  half = jnp.array([1.0, jnp.nan], jnp.bfloat16)
  assert finite.bad_arrays({'a': x[:1], 'b': x, 'c': half}) == ['b', 'c']
  finite.require_none([], 4, 'images', 'none')
