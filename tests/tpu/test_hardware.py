"""TPU chips and slices of them."""

import jax
from pax_softmoe import experiments
from pax_softmoe.tpu import hardware
import pytest


@pytest.mark.parametrize('name', hardware.SLICES)
def test_slices_are_named_by_their_cores(name):
  found = hardware.find_slice(name)
  kind, cores = name.split('-')
  assert (found.name, found.chip.name) == (name, kind)
  chips = len(set(found.coordinates))
  assert int(cores) == chips * (1 if kind in ('v5e', 'v6e') else 2)
  # JAX sees both halves of a TPU7x, and both cores of a v4 or v5p as one.
  assert found.devices == chips * (2 if kind == 'tpu7x' else 1)
  assert len(found.coordinates) == found.devices


@pytest.mark.parametrize(
    'name, topology, rings',
    [
        ('v4-8', 'v4:2x2x1', (False, False, False)),
        ('v4-64', 'v4:2x4x4', (False, False, False)),
        ('v4-128', 'v4:4x4x4', (True, True, True)),
        ('v5p-512', 'v5p:4x8x8', (True, True, True)),
        ('v5e-16', 'v5e:4x4', (False, False, False)),
        ('v5e-128', 'v5e:8x16', (False, True, False)),
        ('v6e-256', 'v6e:16x16', (True, True, False)),
        ('tpu7x-128', 'tpu7x:4x4x4', (True, True, True)),
    ],
)
def test_slices_as_google_cloud_links_them(name, topology, rings):
  found = hardware.find_slice(name)
  assert (found.topology, found.rings) == (topology, rings)


@pytest.mark.parametrize(
    'name, message',
    [
        ('v4-12', "no TPU slice 'v4-12'.*v4-8, v4-16"),
        ('v5e-3', "no TPU slice 'v5e-3'; use one of v5e-4, v5e-8"),
        ('v3-8', 'use one of v4-8, v5e-4, v5p-8, v6e-4, tpu7x-8 or larger'),
        ('v5p', 'use one of v5p-8, v5p-16'),
    ],
)
def test_unknown_slice_lists_those_that_exist(name, message):
  with pytest.raises(ValueError, match=message):
    hardware.find_slice(name)


def test_clocks_follow_from_matrix_units():
  clocks = {chip.name: chip.clock_hz / 1e6 for chip in hardware.CHIPS}
  # arXiv 2304.01433 has v4's.
  assert clocks['v4'] == pytest.approx(1050, rel=0.002)
  assert clocks['v5p'] == pytest.approx(clocks['v6e'])


@pytest.mark.skipif(
    jax.__version_info__ < (0, 10), reason='this jax has no table of chips'
)
@pytest.mark.parametrize('chip', hardware.CHIPS, ids=lambda chip: chip.name)
def test_peaks_are_those_that_jax_knows(chip):
  from jax.experimental.pallas import tpu as pltpu

  version = pltpu.ChipVersion(chip.name.removeprefix('tpu'))
  of_core = pltpu.get_tpu_info_for_chip(version, 1)
  peak = of_core.bf16_ops_per_second * chip.cores
  assert chip.peak_flops * chip.devices == pytest.approx(peak, rel=0.005)


def test_utilization_by_hand():
  """A ViT of one block with one of everything, on two chips."""
  of = experiments.ViTFashionMnist.with_settings(
      IMAGE_SIZE=28,
      PATCH_SIZE=14,
      CHANNELS=1,
      MODEL_DIMS=8,
      HIDDEN_DIMS=16,
      NUM_HEADS=2,
      NUM_LAYERS=1,
  )()
  # Of 4 tokens: patches 4 x 196 x 8, four projections 4 x 8 x 8, scores and
  # mixtures 4 x 4 x 8, two layers of an MLP 4 x 8 x 16; and a head 8 x 10.
  products = 6272 + 4 * 256 + 2 * 128 + 2 * 512 + 80
  # Two FLOPs each; backward costs twice as much as forward.
  flop = of.as_config().task.train.flop_per_image
  assert flop == 2 * 3 * products == 51_936
  v4 = hardware.find_chip('TPU v4')
  # 550 TFLOP/s at most: a tenth of them is 55e12 / 51,936 images.
  assert hardware.utilization(v4, 55e12 / 51_936, flop, 2) == pytest.approx(0.1)
