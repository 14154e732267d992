"""Weights made whole, which changes where they are and nothing else."""

import jax
from jax import numpy as jnp
import numpy as np
from pax_softmoe.layers import gathering
import pytest

NAMES = ('replica', 'data', 'expert', 'mdl')
WEIGHTS = np.arange(8 * 3 * 5, dtype=np.float32).reshape(8, 3, 5)


def gather(weights, split, dim, mesh_shape=(1, 2, 2, 1)):
  make = lambda w: gathering.gather(w, split, dim, mesh_shape, NAMES)
  return jax.make_jaxpr(make)(weights), jax.jit(make)(weights)


@pytest.mark.parametrize(
    'split, dim',
    [
        ([('data', 'expert'), None, None], 0),
        (['data', 'mdl', None], 0),
        ([None, None, 'expert'], 2),
    ],
)
def test_no_number_changes_place(split, dim):
  weights = np.moveaxis(WEIGHTS, 0, dim)
  _, got = gather(jnp.asarray(weights), split, dim)
  np.testing.assert_array_equal(got, weights)


def test_parts_have_a_dimension_of_their_own():
  program, _ = gather(jnp.asarray(WEIGHTS), [('data', 'expert'), None, None], 0)
  # 3 x 5 rows of 4 parts of 2.
  assert '[15,4,2]' in str(program)


@pytest.mark.parametrize(
    'split, mesh_shape',
    [
        ([None, None, None], (1, 2, 2, 1)),
        (None, (1, 2, 2, 1)),
        ([('data', 'expert'), None, None], (1, 1, 1, 4)),
        ([('data', 'expert'), None, None], None),
        # 8 dims in 3 parts, and a split that merged dimensions cannot have.
        (['data', None, None], (1, 3, 1, 1)),
        (['data', None, 'mdl'], (1, 2, 1, 2)),
    ],
)
def test_what_is_whole_or_cannot_be_parted_is_left_alone(split, mesh_shape):
  program, got = gather(jnp.asarray(WEIGHTS), split, 0, mesh_shape)
  assert not program.eqns
  np.testing.assert_array_equal(got, WEIGHTS)
