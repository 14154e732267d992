"""The first estimate: what its parts add up to."""

from pax_softmoe import experiments
from pax_softmoe.tpu import hardware
from pax_softmoe.tuning import arithmetic
import pytest
from sweep_results import estimate_at


def test_keeping_more_takes_memory_and_saves_compute(flagship):
  by_remat = [
      estimate_at(flagship, remat=remat)
      for remat in ('full', 'products', 'none')
  ]
  gib = [estimate.hbm_gib for estimate in by_remat]
  assert gib == sorted(gib)
  # 'none' does less again, but has more to write and to read.
  full, products, _ = by_remat
  assert products.compute_ms < full.compute_ms


def test_gradients_between_slices():
  model = arithmetic.Model(experiments.SoftMoEH14)
  v4_128 = hardware.find_slice('v4-128')
  got = model.dcn_seconds(2, v4_128)
  # 27.3 B parameters in bfloat16, in 64 parts, there and back by half.
  want = 27_318_132_649 * 2 / 64 / 6.25e9
  assert got == pytest.approx(want)
  four = model.dcn_seconds(4, v4_128)
  assert four == pytest.approx(1.5 * want)
