"""What differs between versions of the libraries."""

import importlib
import importlib.metadata
import re
import sys
import types

import jax
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


def test_top_k_for_tensorflow_takes_the_earlier_of_equal_values(monkeypatch):
  monkeypatch.setattr(compat, '_exports_composites', lambda: True)
  known = jax.lax.top_k
  with compat.top_k_for_tensorflow():
    assert jax.lax.top_k is not known
    values, places = jax.lax.top_k(jnp.array([[1.0, 3, 2, 3], [0, 0, 0, 0]]), 3)
  assert values.tolist() == [[3, 3, 2], [0, 0, 0]]
  assert places.tolist() == [[1, 3, 2], [0, 1, 2]]
  assert jax.lax.top_k is known


def test_every_name_is_there_once_pax_is_imported():
  for name in compat.NAMES:
    assert hasattr(importlib.import_module(name.module), name.name), name
  assert compat.restore() == []


def test_what_a_library_has_is_left_as_it_is(monkeypatch):
  mine = types.ModuleType('mine')
  mine.old = 1
  monkeypatch.setitem(sys.modules, 'mine', mine)
  names = tuple(
      compat.Name('mine', name, 'mine 2.0', 'nowhere', lambda: 2)
      for name in ('old', 'gone')
  )
  monkeypatch.setattr(compat, 'NAMES', names)
  assert compat.restore() == ['mine.gone']
  assert (mine.old, mine.gone) == (1, 2)


def test_pieces_of_pax_that_cannot_work_say_so():
  automatic = compat._never('AUTO')()
  assert not isinstance(3, automatic)
  with pytest.raises(NotImplementedError, match='this jax has no AUTO; use'):
    automatic('mesh')


@pytest.mark.parametrize('name', compat.NAMES, ids=lambda n: n.name)
def test_every_name_says_where_it_is_read_and_since_when_it_is_gone(name):
  assert re.fullmatch(r'(jax|NumPy) \d[\d.]+', name.gone)
  assert 'praxis' in name.used or 'paxml' in name.used


def test_a_missing_part_of_an_array_is_an_error_where_that_can_be_asked():
  want = {'driver': 'zarr'}
  # With jax 0.4.26 comes a TensorStore that has no such option.
  if compat.version('jax') >= (0, 5):
    want['fill_missing_data_reads'] = False
  assert compat.complete_reads({'driver': 'zarr'}) == want


def test_a_builder_without_the_new_method_is_asked_for_its_files(tmp_path):
  class Old:
    data_path = tmp_path / 'none'

  class New:

    def is_prepared(self):
      return True

  assert not compat.is_prepared(Old())
  assert compat.is_prepared(New())


def head_unreplicate(x):
  """What Pax after 1.4.0 does to the output of one device."""
  return x[0] if len(jax.local_devices()) == 1 else x.squeeze(0)


def test_outputs_keep_their_dimensions(monkeypatch):
  from praxis import py_utils

  monkeypatch.setattr(py_utils, '_unreplicate', head_unreplicate)
  compat.keep_dimensions_of_outputs()
  mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ('x',))
  for spec in (('x',), ()):
    sharding = jax.sharding.NamedSharding(
        mesh, jax.sharding.PartitionSpec(*spec)
    )
    one_row = jax.device_put(np.array([[1.0, 2]]), sharding)
    got = py_utils.maybe_unreplicate_for_fully_replicated(
        {'a': one_row, 'b': 3}
    )
    assert got['a'].tolist() == [[1, 2]] and got['b'] == 3


def test_what_is_right_in_pax_is_left(monkeypatch):
  from praxis import py_utils

  def right(x):
    return x.addressable_data(0)

  monkeypatch.setattr(py_utils, '_unreplicate', right)
  compat.keep_dimensions_of_outputs()
  assert py_utils._unreplicate is right
