"""Single image files, as they are predicted."""

import numpy as np
from pax_softmoe.data.ops import image_ops
from pax_softmoe.data.read import image_files
from PIL import Image
import pytest


@pytest.mark.parametrize('channels', [1, 3])
def test_a_file_goes_through_the_ops(tmp_path, channels):
  path = tmp_path / 'a.png'
  Image.fromarray(np.full([6, 9, 3], 255, np.uint8)).save(path)
  ops = (image_ops.Resize(4), image_ops.ValueRange())
  got = image_files.read(path, image_size=4, channels=channels, ops=ops)
  assert got.shape == (4, 4, channels) and got.dtype == np.float32
  np.testing.assert_allclose(got, 1, atol=1e-6)


def test_a_file_that_is_none_is_named(tmp_path):
  path = tmp_path / 'none.png'
  with pytest.raises(ValueError, match=f'{path} cannot be read as an image'):
    image_files.read(path, image_size=4, channels=3, ops=())


def test_an_image_too_small_to_crop_is_resized(tmp_path):
  path = tmp_path / 'small.png'
  Image.fromarray(np.full([3, 3, 3], 255, np.uint8)).save(path)
  ops = (image_ops.CenterCrop(8), image_ops.ValueRange())
  got = image_files.read(path, image_size=8, channels=3, ops=ops)
  assert got.shape == (8, 8, 3)
  np.testing.assert_allclose(got, 1, atol=1e-6)
