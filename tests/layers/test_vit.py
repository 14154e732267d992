"""The vision transformer: parameter counts, attention, stacks, remat."""

import jax
import layer_testing
import numpy as np
from pax_softmoe import layers
import pytest
import small_vit


def test_patch_embedding_equals_a_strided_convolution():
  layer = layer_testing.instantiate(
      layers.vit.PatchEmbedding, patch_size=4, channels=1, model_dims=6
  )
  x = small_vit.images()
  variables = layer_testing.init(layer, x)
  kernel = variables['params']['kernel'].reshape(4, 4, 1, 6)
  want = jax.lax.conv_general_dilated(
      x, kernel, (4, 4), 'VALID', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
  )
  got = layer_testing.apply(layer, variables, x)
  np.testing.assert_allclose(got, want.reshape(2, 4, 6), atol=1e-5)


def test_patch_that_does_not_divide_the_image_is_refused():
  with pytest.raises(ValueError, match='images of 8 pixels cannot be cut'):
    layer_testing.init(small_vit.make(patch_size=3), small_vit.images())


def test_moe_layer_beyond_the_last_block_is_refused():
  with pytest.raises(ValueError, match='there is no block 4 to be MoE'):
    layer_testing.init(small_vit.make(moe_layers=(4,)), small_vit.images())
