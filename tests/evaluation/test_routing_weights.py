"""What MoE layers route where, as arrays and as a picture."""

import numpy as np
from pax_softmoe.evaluation import routing_weights
from PIL import Image
import pytest


def test_weights_of_scanned_and_single_blocks_by_their_number():
  one, two = np.zeros([2, 4, 3, 1]), np.ones([2, 2, 4, 3, 1])
  tree = {
      'vit': {
          'blocks_5': {'sub': {'moe': {'dispatch_weights': two}}},
          'block_2': {'moe': {'dispatch_weights': one, 'other': one}},
      }
  }
  found = routing_weights.dispatch_weights(tree)
  assert list(found) == [2, 5, 6]
  assert [w.shape for w in found.values()] == [(2, 4, 3, 1)] * 3
  assert found[2].max() == 0 and found[6].min() == 1


def test_patches_read_evenly_are_white_more_are_red_less_blue():
  black = np.full([8, 8, 1], -1.0)
  # Of the second slot: nothing, even, twice and four times that.
  parts = np.array([[1, 0], [1, 1], [1, 2], [1, 4]])
  row = routing_weights.mosaic(black, parts)
  # Two gaps of one pixel.
  assert row.shape == (8, 3 * 8 + 2, 3)
  assert row[:, :8].max() == 0
  assert row[:, [8, 17]].min() == 1
  even, other = row[:, 9:17], row[:, 18:]
  # White is not quite 1 in that map.
  np.testing.assert_allclose(even, 0.75, atol=0.03)
  blue, white, red, more = (
      other[a, b] for a, b in ((0, 0), (0, 7), (7, 0), (7, 7))
  )
  assert blue[2] > blue[0] + 0.2
  np.testing.assert_allclose(white, even[0, 0])
  assert red[0] > red[2] + 0.2
  np.testing.assert_array_equal(red, more)
  # Each patch is a quarter.
  np.testing.assert_array_equal(other[:4, :4], np.tile(blue, [4, 4, 1]))


@pytest.mark.parametrize('slots', [1, 4])
def test_picture_has_a_row_for_each_layer_and_image(tmp_path, slots):
  images = np.zeros([2, 8, 8, 3])
  weights = {3: np.full([2, 4, 2, 2], 0.25), 5: np.full([2, 4, 2, 2], 0.25)}
  output = tmp_path / 'routing.png'
  routing_weights.draw(images, weights, ['a', 'b'], output, max_slots=slots)
  pixels = np.asarray(Image.open(output).convert('L'))
  # Where the grey images are; what slots read is lighter, and writing thinner.
  grey = (abs(pixels.astype(int) - 128) < 3).sum(axis=1) > 20
  assert np.diff(grey.astype(int)).clip(0).sum() == 4
