"""Measuring routers against the dense layer."""

import json

from pax_softmoe.bench import speed
from pax_softmoe.tools import main

TINY = ['--batch=2', '--tokens=4', '--dims=16', '--hidden=32', '--layers=2']


def test_calls_take_turns_and_each_starts_a_round():
  order = []
  calls = {name: lambda name=name: order.append(name) for name in 'abc'}
  seconds = speed.interleaved(calls, 3)
  # The first of each is not timed.
  assert ''.join(order) == 'abc' + 'abc' + 'bca' + 'cab'
  assert {name: len(values) for name, values in seconds.items()} == {
      'a': 3,
      'b': 3,
      'c': 3,
  }


def test_bench_measures_every_router(capsys):
  arguments = ['bench', *TINY, '--heads=2', '--experts=4', '--rounds=2']
  assert main.main([*arguments, '--json']) == 0
  result = json.loads(capsys.readouterr().out)
  assert result['shape']['tokens'] == 4
  for part in speed.PARTS:
    for which in speed.PASSES:
      rows = result[part][which]
      assert set(rows) == set(speed.ROUTERS)
      assert rows['Dense']['ratio'] == {'min': 1, 'median': 1, 'max': 1}
      assert all(row['ms']['min'] > 0 for row in rows.values())


def test_a_router_that_does_not_fit_says_why():
  shape = dict(batch=2, tokens=4, dims=16, hidden=32, experts=3)
  rows = speed.run(shape, ['layer'], rounds=1)['layer']['forward']
  assert '4 tokens cannot fill 3 experts' in rows['Identity']['error']
  assert 'ms' in rows['SoftMoE']
