"""Points that tuning may try."""

from pax_softmoe import experiments
from pax_softmoe.sharding import fits
from pax_softmoe.tpu import hardware
from pax_softmoe.tuning import space
import pytest


def placements(experiment, slice_name, **values):
  """Returns (mesh, preset) of all points with one batch and remat policy."""
  values = {'images_per_chip': (16,), 'remats': ('full',)} | values
  found = space.points(experiment, space.Space(slice_name, **values))
  return [(point.mesh, point.preset) for point in found]


SIZES = (1, 2, 4, 8, 16, 32, 64)


def test_flagship_on_64_chips_has_the_points_worked_out_by_hand():
  got = placements(experiments.SoftMoEH14, 'v4-128')
  two_axes = [(1, n, 64 // n, 1) for n in SIZES]
  # Expert 1 would be the same as 'replicated', which is not there again.
  want = {(mesh, 'expert_parallel') for mesh in two_axes}
  # With data 1 there is nothing that 'zero' would split.
  want |= {(mesh, 'expert_parallel_zero') for mesh in two_axes[1:]}
  want |= {(mesh, 'fsdp_dense') for mesh in two_axes}
  # With mdl 1 it is 'expert_parallel'; 16 heads cannot be split over 32.
  want |= {
      ((1, data, 64 // mdl // data, mdl), 'expert_model_parallel')
      for mdl in (2, 4, 8, 16)
      for data in SIZES
      if data <= 64 // mdl
  }
  assert set(got) == want
  assert len(got) == len(want)
  assert got[0] == ((1, 1, 64, 1), 'expert_parallel')


def test_dense_model_has_no_expert_axis_of_its_own():
  assert placements(experiments.ViTH14, 'v4-128') == [
      ((1, 1, 64, 1), 'expert_parallel'),
      ((1, 1, 64, 1), 'fsdp_dense'),
      ((1, 1, 32, 2), 'expert_model_parallel'),
      ((1, 1, 16, 4), 'expert_model_parallel'),
      ((1, 1, 8, 8), 'expert_model_parallel'),
      ((1, 1, 4, 16), 'expert_model_parallel'),
  ]


@pytest.mark.parametrize('name', ['SoftMoEH14', 'ViTS32', 'ExpertsChoiceB16'])
@pytest.mark.parametrize('slice_name', ['v4-8', 'v4-64', 'v4-512'])
def test_every_point_is_valid(name, slice_name):
  experiment = getattr(experiments, name)
  points = space.points(experiment, space.Space(slice_name))
  assert points and len(set(points)) == len(points)
  for point in points:
    assert point.chips == hardware.find_slice(slice_name).devices
    changed = experiment.with_settings(**point.settings())()
    assert fits.mesh_problem(changed, point.mesh) is None


def test_batch_that_cannot_be_cut_into_groups_is_left_out():
  # Groups of 8 images, 64 parts of the batch: 512 images at least.
  got = space.points(
      experiments.ExpertsChoiceH14,
      space.Space('v4-128', images_per_chip=(4, 8), presets=('replicated',)),
  )
  assert {point.images_per_chip for point in got} == {8}


def test_all_axes_are_combined():
  got = space.points(
      experiments.SoftMoEH14,
      space.Space(
          'v4-8',
          meshes=[(1, 1, 4, 1)],
          presets=['expert_parallel'],
          remats=['full', 'none'],
          images_per_chip=[8, 16, 32],
          first_moments=['float32', 'bfloat16'],
      ),
  )
  assert len(got) == 2 * 3 * 2
  assert got[-1].settings() == {
      'ICI_MESH_SHAPE': (1, 1, 4, 1),
      'SHARDING': 'expert_parallel',
      'REMAT': 'none',
      'SCAN_LAYERS': False,
      'TRAIN_BATCH_SIZE': 128,
      'EVAL_BATCH_SIZE': 128,
      'FIRST_MOMENT_DTYPE': 'bfloat16',
  }


def test_preset_with_overrides_of_single_letters():
  text = 'fsdp_dense+expert_weights.h=data/mdl+dense_weights.d='
  assert space.preset_settings(text) == {
      'SHARDING': 'fsdp_dense',
      'SHARDING_OVERRIDES': {
          'expert_weights.h': ('data', 'mdl'),
          'dense_weights.d': (),
      },
  }


@pytest.mark.parametrize(
    'values, message',
    [
        ({'presets': ['fsdp']}, "no sharding preset 'fsdp'"),
        ({'presets': ['fsdp_dense+h=data']}, 'expected KIND.LETTER'),
        ({'remats': ['some']}, "no remat policy 'some'"),
        ({'meshes': [(1, 1, 32, 1)]}, 'whose product is 64'),
    ],
)
def test_values_that_do_not_exist_are_refused(values, message):
  with pytest.raises(ValueError, match=message):
    placements(experiments.SoftMoEH14, 'v4-128', **values)
