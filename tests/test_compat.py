"""What differs between versions of the libraries."""

import importlib.metadata

import jax.numpy as jnp
import ml_dtypes
import numpy as np
from pax_softmoe import compat
import pytest


def test_versions_are_compared_as_numbers(monkeypatch):
  monkeypatch.setattr(importlib.metadata, 'version', lambda _: '2.15.0rc1')
  assert compat.version('x') == (2, 15) > (2, 9)


@pytest.mark.parametrize(
    'tensorflow, key',
    [
        ('2.9.3', 'native_serialization'),
        ('2.21.0', 'native_serialization_platforms'),
    ],
)
def test_old_tensorflow_gets_its_own_operations(tensorflow, key, monkeypatch):
  monkeypatch.setattr(importlib.metadata, 'version', lambda _: tensorflow)
  assert list(compat.saved_model_options(['cpu'])) == [key]


def test_bfloat16_by_name_is_that_of_jax():
  assert compat.dtype('bfloat16') == jnp.bfloat16 == ml_dtypes.bfloat16
  assert compat.dtype('float32') == np.float32
  assert compat.dtype(jnp.float16) is jnp.float16
  assert compat.dtype(None) is None


def test_pax_finds_the_name_that_numpy_2_removed():
  compat.restore_numpy_names()
  assert np.unicode_ is np.str_


def test_a_missing_part_of_an_array_is_an_error_where_that_can_be_asked():
  spec = compat.complete_reads({'driver': 'zarr'})
  assert spec['driver'] == 'zarr'
  assert spec.get('fill_missing_data_reads', False) is False


def test_a_builder_without_the_new_method_is_asked_for_its_files(tmp_path):
  class Old:
    data_path = tmp_path / 'none'

  class New:

    def is_prepared(self):
      return True

  assert not compat.is_prepared(Old())
  assert compat.is_prepared(New())
