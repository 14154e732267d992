"""Both streams read the same drawn files."""

import numpy as np
from pax_softmoe.bench import measure_input
import pytest


@pytest.fixture(name='folder', scope='module')
def _folder(tmp_path_factory):
  return measure_input.draw(8, tmp_path_factory.mktemp('drawn') / 'data')


def test_the_bare_stream_decodes_and_does_nothing_else(folder):
  batch = next(measure_input.bare(folder, 4))
  assert batch.shape == (4, 375, 500, 3)
  assert batch.dtype == np.uint8


@pytest.mark.parametrize('recipe', list(measure_input.RECIPES))
def test_ours_gives_what_training_gets(folder, recipe):
  ops = measure_input.RECIPES[recipe]
  batch = next(measure_input.ours(folder, 4, ops))
  size = measure_input.SIZE
  assert batch.image.shape == (4, size, size, 3)
  assert np.abs(batch.image).max() <= 1
