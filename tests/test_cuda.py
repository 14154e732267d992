"""Programs for CUDA devices, made on a machine without one."""

import re

import jax
from jax import numpy as jnp
from pax_softmoe import experiments
from pax_softmoe import routing
from pax_softmoe.tpu import train_step
import pytest

pytestmark = pytest.mark.skipif(
    jax.__version_info__ < (0, 5),
    reason='jax 0.4.26 lowers for devices that are there only',
)


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
def test_routing_lowers_for_cuda(dtype):
  tokens = jax.ShapeDtypeStruct((2, 16, 32), dtype)
  phi = jax.ShapeDtypeStruct((32, 4, 2), dtype)

  def mix(tokens, phi):
    logits = jnp.einsum('bmd,dnp->bmnp', tokens, phi)
    return routing.dispatch_weights(logits), routing.combine_weights(logits)

  jax.jit(mix).trace(tokens, phi).lower(lowering_platforms=('cuda',))


@pytest.mark.parametrize(
    'name',
    [
        *('SoftMoEFashionMnist', 'ViTFashionMnist', 'TokensChoiceFashionMnist'),
        *('ExpertsChoiceFashionMnist', 'SoftMoES16', 'TokensChoiceS16'),
    ],
)
def test_a_train_step_lowers_for_cuda(name):
  cls = getattr(experiments, name)
  batch = dict(TRAIN_BATCH_SIZE=8, EVAL_BATCH_SIZE=8)
  of = cls.with_settings(ICI_MESH_SHAPE=(1, 1, 1, 1), **batch)()
  step = train_step.TrainStep(of, jax.devices()[:1])
  # Pax hides what traces behind a function that only lowers for what is there.
  traced = jax.jit(step._step, static_argnums=3).trace(*step._specs())
  text = traced.lower(lowering_platforms=('cuda',)).as_text()
  assert 'stablehlo.dot_general' in text
  # Whatever is called by name, CUDA's own compiler has.
  called = set(re.findall(r'custom_call @([\w.]+)', text))
  assert called <= {
      'Sharding',
      'SPMDFullToShardShape',
      'cu_threefry2x32',
  }, called
