"""What of both models is compared."""

from pax_softmoe import experiments
from pax_softmoe.bench import measure_forward
import pytest


@pytest.mark.parametrize(
    'name, mesh', [('SoftMoEH14', (1, 1, 64, 1)), ('ViTH14', (1, 64, 1, 1))]
)
def test_both_have_the_same_images_a_chip_and_dense_weights_everywhere(
    name, mesh
):
  cls = getattr(experiments, name)
  of = cls.with_settings(**measure_forward.settings(cls))()
  assert of.mesh_shape() == mesh
  assert of.EVAL_BATCH_SIZE == 16 * 64
  assert of.sharding_rules().dense_weight('dh') == (None, None)
  assert not of.SCAN_LAYERS
