"""Estimates of single layers by the compiler for TPUs."""

from pax_softmoe.bench import measure_block
from pax_softmoe.layers import feed_forward
from pax_softmoe.tpu import hardware
from praxis import pax_fiddle
import pytest


@pytest.mark.libtpu
def test_an_mlp_takes_longer_than_its_products_at_the_peak(eight_tpus):
  assert len(eight_tpus) == 8
  tpl = pax_fiddle.Config(
      feed_forward.DenseFeedForward, input_dims=256, hidden_dims=1024
  )
  got = measure_block.milliseconds(tpl, (4, 256, 256))
  # Two products, and two gradients of each, of 4 x 256 tokens.
  flops = 3 * 2 * 2 * 4 * 256 * 256 * 1024
  assert flops / hardware.find_slice('v4-8').chip.peak_flops < got / 1e3 < 1e-3
