"""The plain formulation of the layer."""

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
