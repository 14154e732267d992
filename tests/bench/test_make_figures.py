"""Figures of the documentation are drawn."""

import matplotlib
from matplotlib import pyplot as plt
import numpy as np
from pax_softmoe.bench import make_figures
import pytest


@pytest.fixture(autouse=True)
def _images(tmp_path, monkeypatch):
  monkeypatch.setattr(make_figures, 'IMAGES', tmp_path)


def texts(monkeypatch):
  """Returns the texts of all figures that are closed from now on."""
  found = []

  def close(figure):
    found.extend(t.get_text() for t in figure.findobj(matplotlib.text.Text))

  monkeypatch.setattr(plt, 'close', close)
  return found


def test_the_mesh_shows_which_images_and_experts_a_chip_has(
    tmp_path, monkeypatch
):
  found = texts(monkeypatch)
  make_figures.sharding_figure()
  assert (tmp_path / 'sharding.png').read_bytes().startswith(b'\x89PNG')
  # 4,096 images on 256 chips are 16 each, of 256 tokens.
  assert 'images 0-15\n4,096 tokens' in found
  # One expert with one slot of each of the 2,048 images of its row.
  assert 'expert 127\n2,048 slots' in found


def test_estimates_of_all_stored_slices_are_drawn(tmp_path, monkeypatch):
  found = texts(monkeypatch)
  make_figures.slices_figure()
  assert (tmp_path / 'slices.png').exists()
  assert any(text.startswith('v4-128\n') for text in found)


def test_weights_of_the_first_block_and_image():
  value = np.arange(48.0).reshape(2, 1, 3, 2, 4)
  tree = {'blocks_2': {'dispatch_weights': value}}
  got = make_figures._first_weights(tree, 'dispatch_weights')
  np.testing.assert_array_equal(got, np.arange(24.0).reshape(3, 8))
  with pytest.raises(ValueError, match='give a job with a soft router'):
    make_figures._first_weights(tree, 'combine_weights')
