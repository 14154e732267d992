"""Sets of flags of the compiler for TPUs."""

from pax_softmoe.tpu import flags
import pytest


def test_a_set_comes_before_the_flags_of_the_user(monkeypatch):
  monkeypatch.setenv('LIBTPU_INIT_ARGS', ' --mine=1 ')
  got = flags.text('overlap').split()
  assert got[0].startswith('--xla_jf_spmd_threshold')
  assert '--xla_tpu_enable_async_all_to_all=true' in got
  assert got[-1] == '--mine=1'
  monkeypatch.delenv('LIBTPU_INIT_ARGS')
  assert flags.text('none').split() == got[:1]


def test_every_flag_of_a_set_is_one():
  for name, of in flags.SETS.items():
    assert of.purpose
    for flag in of.flags:
      assert flag.startswith('--xla_') and '=' in flag, (name, flag)


def test_what_the_user_has_not_set_is_missing(monkeypatch):
  monkeypatch.setenv('LIBTPU_INIT_ARGS', '--a=1 --b=false')
  assert flags.missing('--a=1 --b=true --c=1') == ['--b=true', '--c=1']


def test_an_unknown_set_is_refused():
  with pytest.raises(ValueError, match="no set of flags 'x'; use one of none,"):
    flags.find('x')
