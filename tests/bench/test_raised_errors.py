"""Errors are found in the source with their messages."""

from pax_softmoe.bench import raised_errors


def test_errors_are_found_in_the_source():
  found = [e for e in raised_errors.find() if e.function == 'preset']
  (error,) = found
  assert error.module == 'pax_softmoe/sharding/axis_rules.py'
  assert error.kind == 'ValueError'
  assert error.message == 'no sharding preset …; use one of …'


def test_a_message_matches_its_texts():
  (error,) = [e for e in raised_errors.find() if e.function == 'preset']
  assert error.pattern().fullmatch('no sharding preset x; use one of a, b')
  assert not error.pattern().fullmatch('no preset x')
