"""Weights as Pax' own checkpoints."""

import checkpoint_files
import numpy as np
from pax_softmoe.checkpoints import inspecting
from pax_softmoe.checkpoints import lazy_array
from pax_softmoe.checkpoints import reading
from pax_softmoe.checkpoints import writing
from pax_softmoe.model_size import counts


def test_what_is_written_is_read_and_the_rest_is_drawn(tmp_path):
  wanted = counts.abstract_weights(checkpoint_files.experiment())
  shapes = counts.weight_shapes(checkpoint_files.experiment())
  arrays = {}
  for name, shape in shapes.items():
    numbers = np.random.RandomState(len(name)).normal(size=shape)
    numbers = numbers.astype(np.float32)
    arrays[name] = lazy_array.LazyArray(name, shape, numbers.__getitem__)
  drawn = 'vit/patch_embedding/kernel'
  writing.write(tmp_path, wanted, arrays | {drawn: None}, seed=3)
  assert inspecting.steps(tmp_path) == [0]
  got = lazy_array.by_name(reading.read_weights(tmp_path)[1])
  assert got.keys() == arrays.keys()
  for name, array in arrays.items():
    same = np.array_equal(got[name], array.whole())
    assert same == (name != drawn), name
  # As the model starts: with the deviation of its own initializer.
  fan_in = shapes[drawn][0]
  np.testing.assert_allclose(got[drawn].std(), fan_in**-0.5, rtol=0.2)
