"""The first estimate against numbers worked out by hand."""

from pax_softmoe import experiments
from pax_softmoe.experiments import stored
from pax_softmoe.hlo import collectives
from pax_softmoe.tpu import hardware
from pax_softmoe.tuning import arithmetic
from pax_softmoe.tuning import space
import pytest

# Of SoftMoEH14: 16 layers of 128 MLPs, their biases included, and the rest.
EXPERTS = 16 * 128 * (2 * 1280 * 5120 + 5120 + 1280)
OTHERS = 27_318_132_649 - EXPERTS


@pytest.fixture(scope='module')
def flagship():
  return arithmetic.Model(experiments.SoftMoEH14)


def at(
    model,
    mesh=(1, 1, 64, 1),
    preset='expert_parallel',
    remat='full',
    images=16,
    first_moment=None,
):
  point = space.Point(mesh, preset, remat, images, first_moment)
  return model.estimate('v4-128', point)


def weight_gib(estimate):
  return estimate.gib['weights'] + estimate.gib['optimizer']


@pytest.mark.parametrize(
    'mesh, expert_parts', [((1, 1, 64, 1), 64), ((1, 4, 16, 1), 16)]
)
def test_experts_are_split_and_all_else_is_on_every_chip(
    flagship, mesh, expert_parts
):
  want = 3 * 4 * (EXPERTS / expert_parts + OTHERS) / hardware.GIB
  assert weight_gib(at(flagship, mesh)) == pytest.approx(want)


def test_bfloat16_first_moment_takes_half_of_it(flagship):
  full, half = at(flagship), at(flagship, first_moment='bfloat16')
  saved = weight_gib(full) - weight_gib(half)
  assert saved == pytest.approx(2 * (EXPERTS / 64 + OTHERS) / hardware.GIB)


def test_zero_splits_expert_weights_over_data_too(flagship):
  got = at(flagship, (1, 4, 16, 1), 'expert_parallel_zero').gib['weights']
  # All but the biases of the output, which have no hidden dims.
  biases = 16 * 128 * 1280
  parts = (EXPERTS - biases) / 64 + biases / 16 + OTHERS
  assert got == pytest.approx(4 * parts / hardware.GIB)


@pytest.mark.parametrize('remat, each', [('full', 6), ('exchange', 4)])
def test_all_to_alls_of_each_layer(flagship, remat, each):
  got = collectives.summary(at(flagship, remat=remat).collectives)
  bytes_of_one = 16 * 128 * 1280 * 2  # Images, slots, dims, bfloat16.
  assert got['all-to-all']['count'] == 16 * each
  assert got['all-to-all']['gb'] == pytest.approx(
      16 * each * bytes_of_one / 1e9
  )


def test_gradients_of_what_is_on_every_chip_are_summed(flagship):
  got = collectives.summary(at(flagship).collectives)
  assert set(got) == {'all-to-all', 'all-reduce'}
  assert got['all-reduce']['gb'] == pytest.approx(2 * OTHERS / 1e9, rel=0.01)


def test_split_dense_weights_are_gathered(flagship):
  got = collectives.summary(at(flagship, preset='fsdp_dense').collectives)
  # Forward, again, backward; not norms, nor what has no model dims.
  assert got['all-gather']['gb'] == pytest.approx(
      3 * 2 * OTHERS / 1e9, rel=0.01
  )
  assert got['reduce-scatter']['gb'] == pytest.approx(
      2 * OTHERS / 1e9, rel=0.01
  )


def test_compute_takes_longer_than_products_at_the_peak(flagship):
  got = at(flagship)
  # Forward, again, and twice as much backward.
  peak_ms = 1e3 * 4 * 284.6e9 * 16 / hardware.PEAK_FLOPS
  assert got.compute_ms > peak_ms
  assert at(flagship, images=32).compute_ms > 1.7 * got.compute_ms


@pytest.mark.parametrize(
    'slice_name', ['v4-32', 'v4-64', 'v4-128', 'v4-256', 'v4-512', 'v4-1024']
)
def test_compute_is_near_what_the_tpu_compiler_estimates(flagship, slice_name):
  entry = stored.entries('SoftMoEH14')[slice_name]
  settings, compiled = entry['settings'], entry['estimate']
  point = space.Point(
      tuple(compiled['mesh']),
      compiled['preset'],
      settings['REMAT'],
      compiled['images_per_chip'],
      settings.get('FIRST_MOMENT_DTYPE'),
  )
  got = flagship.estimate(slice_name, point).compute_ms
  assert got == pytest.approx(compiled['compute_ms'], rel=0.25)


def test_keeping_more_takes_memory_and_saves_compute(flagship):
  by_remat = [
      at(flagship, remat=remat) for remat in ('full', 'products', 'none')
  ]
  gib = [estimate.hbm_gib for estimate in by_remat]
  assert gib == sorted(gib)
  # 'none' does less again, but has more to write and to read.
  full, products, _ = by_remat
  assert products.compute_ms < full.compute_ms


def test_gradients_between_slices():
  got = arithmetic.Model(experiments.SoftMoEH14).dcn_seconds(2, 64)
  # 27.3 B parameters in bfloat16, in 64 parts, there and back by half.
  want = 27_318_132_649 * 2 / 64 / 6.25e9
  assert got == pytest.approx(want)
  four = arithmetic.Model(experiments.SoftMoEH14).dcn_seconds(4, 64)
  assert four == pytest.approx(1.5 * want)
