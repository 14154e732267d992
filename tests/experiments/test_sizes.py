"""Sizes of vision transformers."""

from pax_softmoe.experiments import sizes
import pytest

# Parameters of dense ViT/16 encoders as the ViT paper gives them, in millions.
# (An Image is Worth 16x16 Words, table 1; S from DeiT's table 1.)
MILLIONS = {'S': 22, 'B': 86, 'L': 307, 'H': 632}


@pytest.mark.parametrize('name', MILLIONS)
def test_a_dense_encoder_has_the_published_number_of_parameters(name):
  size = getattr(sizes, name)
  dims, hidden = size.MODEL_DIMS, size.HIDDEN_DIMS
  of_block = 4 * dims * dims + 2 * dims * hidden
  # Kernels alone: biases, norms, patches and positions are about 1 %.
  got = size.NUM_LAYERS * of_block / 1e6
  assert got == pytest.approx(MILLIONS[name], rel=0.04)


@pytest.mark.parametrize('name', MILLIONS)
def test_hidden_dims_are_four_times_the_model_dims(name):
  size = getattr(sizes, name)
  assert size.HIDDEN_DIMS == 4 * size.MODEL_DIMS
  assert size.MODEL_DIMS % size.NUM_HEADS == 0
