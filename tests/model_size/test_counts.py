"""FLOPs by arithmetic against XLA's own count of unrolled models."""

import jax
from jax import numpy as jnp
from pax_softmoe import experiments
from pax_softmoe.model_size import counts
from praxis import base_layer
import pytest

BATCH = 2
# Products dominate in wide layers; elementwise work is what is left.
WIDE = dict(
    MODEL_DIMS=512,
    HIDDEN_DIMS=2048,
    NUM_HEADS=2,
    NUM_LAYERS=2,
    SCAN_LAYERS=False,
    TRAIN_BATCH_SIZE=BATCH,
)


@pytest.mark.parametrize(
    'name, settings',
    [
        ('ViTFashionMnist', {}),
        ('SoftMoEFashionMnist', dict(NUM_EXPERTS=8, SLOTS_PER_EXPERT=4)),
        ('UniformFashionMnist', dict(NUM_EXPERTS=8)),
    ],
)
def test_forward_flops_agree_with_the_count_of_xla(name, settings):
  cls = getattr(experiments, name)
  experiment = cls.with_settings(**WIDE, **settings)()
  specs = experiment.get_input_specs_provider_params().Instantiate()
  model = base_layer.instantiate(experiment.model())
  weights = jax.tree_util.tree_map(
      lambda w: jax.ShapeDtypeStruct(w.full_shape, jnp.float32),
      counts.abstract_weights(experiment),
  )

  def forward(weights, batch):
    context = base_layer.JaxContext.HParams(do_eval=True)
    with base_layer.JaxContext.new_context(hparams=context):
      return model.apply(
          {'params': weights}, batch, method=model.compute_predictions
      )

  lowered = jax.jit(forward).lower(weights, specs.get_input_specs())
  got = lowered.cost_analysis()['flops'] / BATCH
  want = counts.forward_flops(experiment)
  assert want < got < 1.03 * want
