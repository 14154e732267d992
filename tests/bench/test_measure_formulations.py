"""All ways to write the layer compute the same."""

import jax
import numpy as np
from pax_softmoe.bench import measure_formulations
import pytest

B, N, D, E, H = 2, 9, 8, 4, 16
SAME = [
    f
    for f in measure_formulations.SYSTEMS
    if f.__name__ not in ('dense', 'experts_only', 'routing_only')
]


@pytest.mark.parametrize('formulation', SAME, ids=lambda f: f.__name__)
def test_a_formulation_equals_the_layers(formulation, monkeypatch):
  for name, value in zip('BNDEH', (B, N, D, E, H)):
    monkeypatch.setattr(measure_formulations, name, value)
  shapes = {
      'phi': (D, E, 1),
      'wi': (E, D, H),
      'bi': (E, H),
      'wo': (E, H, D),
      'bo': (E, D),
  }
  keys = jax.random.split(jax.random.PRNGKey(0), len(shapes) + 1)
  w = {
      name: jax.random.normal(key, shape)
      for key, (name, shape) in zip(keys, shapes.items())
  }
  x = jax.random.normal(keys[-1], (B, N, D))
  want = measure_formulations.as_in_the_layer(w, x)
  np.testing.assert_allclose(formulation(w, x), want, rtol=1e-4, atol=1e-3)
