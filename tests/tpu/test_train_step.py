"""The order of devices on a mesh; steps are run in test_sharding_equality.py."""

import jax
import numpy as np
from pax_softmoe import experiments
from pax_softmoe.tpu import train_step
import pytest


@pytest.mark.parametrize(
    'ici, dcn, want',
    [
        # Devices 0 to 3 are a slice, 4 to 7 another.
        ((1, 2, 2, 1), (2, 1, 1, 1), [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]),
        ((1, 2, 2, 1), (1, 2, 1, 1), [[[0, 1], [2, 3], [4, 5], [6, 7]]]),
        ((1, 2, 2, 1), (1, 1, 2, 1), [[[0, 1, 4, 5], [2, 3, 6, 7]]]),
    ],
)
def test_slices_are_the_outer_part_of_their_axis(ici, dcn, want):
  got = train_step.arrange(range(8), ici, dcn)
  np.testing.assert_array_equal(got, np.array(want)[..., None])


def test_number_of_devices_must_be_that_of_the_mesh():
  experiment = experiments.SoftMoEFashionMnist.with_settings(
      ICI_MESH_SHAPE=(1, 1, 2, 1), DCN_MESH_SHAPE=(2, 1, 1, 1)
  )()
  message = (
      'SoftMoEFashionMnist: a mesh of 2 x 1 x 2 x 1 needs 4 devices, got 1'
  )
  with pytest.raises(ValueError, match=message):
    train_step.TrainStep(experiment, jax.devices()[:1])
