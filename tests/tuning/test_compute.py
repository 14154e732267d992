"""Compute by arithmetic against the peak and the compiler's estimates."""

from pax_softmoe.experiments import stored
from pax_softmoe.tpu import hardware
from pax_softmoe.tuning import space
import pytest
from sweep_results import estimate_at


def test_compute_takes_longer_than_products_at_the_peak(flagship):
  got = estimate_at(flagship)
  # Forward, again, and twice as much backward.
  peak_ms = (
      1e3 * 4 * 284.6e9 * 16 / hardware.find_slice('v4-128').chip.peak_flops
  )
  assert got.compute_ms > peak_ms
  assert estimate_at(flagship, images=32).compute_ms > 1.7 * got.compute_ms


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
