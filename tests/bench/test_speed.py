"""Measuring routers against the dense layer."""

import json

import jax
import layer_testing
import numpy as np
from pax_softmoe.bench import plain
from pax_softmoe.bench import speed
from pax_softmoe.layers import feed_forward
from pax_softmoe.tools import main
from praxis import pax_fiddle
import pytest

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


@pytest.mark.slow
def test_plain_formulation_takes_turns_with_the_layer(capsys):
  arguments = ['bench', *TINY, '--experts=4', '--rounds=2', '--parts=plain']
  assert main.main([*arguments, '--json']) == 0
  result = json.loads(capsys.readouterr().out)
  for which in speed.PASSES:
    found = result['plain'][which]
    assert set(found['ms']) == set(plain.SIDES)
    assert found['speedup']['min'] > 0


def test_plain_formulation_is_the_same_function():
  tpl = pax_fiddle.Config(
      feed_forward.MoEFeedForward, input_dims=16, hidden_dims=32
  )
  tpl.moe_tpl.set(num_experts=4, slots_per_expert=2)
  layer = layer_testing.instantiate(tpl)
  x = jax.random.normal(jax.random.PRNGKey(0), [2, 9, 16])
  variables = layer_testing.init(layer, x)
  moe = variables['params']['moe']
  norm = variables['params']['layer_norm']
  weights = {'ln_scale': norm['scale'], 'ln_bias': norm['bias']}
  weights |= {'phi': moe['phi'], 'scale': moe['scale'], **moe['experts']}
  np.testing.assert_allclose(
      plain.plain_layer(weights, x),
      layer_testing.apply(layer, variables, x),
      atol=1e-5,
  )


def test_a_router_that_does_not_fit_says_why():
  shape = dict(batch=2, tokens=4, dims=16, hidden=32, experts=3)
  rows = speed.run(shape, ['layer'], rounds=1)['layer']['forward']
  assert '4 tokens cannot fill 3 experts' in rows['Identity']['error']
  assert 'ms' in rows['SoftMoE']


@pytest.mark.parametrize(
    'arguments, code, message',
    [
        (
            ['--rounds=0'],
            2,
            "--rounds: got '0'; give a whole number of 1 or more",
        ),
        (['--tokens=5'], 1, '5 tokens are no square of patches'),
    ],
)
def test_bad_sizes_are_refused(arguments, code, message, capsys):
  assert main.main(['bench', *arguments]) == code
  assert message in capsys.readouterr().err
