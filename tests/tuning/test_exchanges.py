"""What chips exchange against numbers worked out by hand."""

from pax_softmoe.hlo import collectives
import pytest
from sweep_results import estimate_at

# Of SoftMoEH14: 16 layers of 128 MLPs, their biases included, and the rest.
EXPERTS = 16 * 128 * (2 * 1280 * 5120 + 5120 + 1280)


OTHERS = 27_318_132_649 - EXPERTS


@pytest.mark.parametrize('remat, each', [('full', 6), ('exchange', 4)])
def test_all_to_alls_of_each_layer(flagship, remat, each):
  got = collectives.summary(estimate_at(flagship, remat=remat).collectives)
  bytes_of_one = 16 * 128 * 1280 * 2  # Images, slots, dims, bfloat16.
  assert got['all-to-all']['count'] == 16 * each
  assert got['all-to-all']['gb'] == pytest.approx(
      16 * each * bytes_of_one / 1e9
  )


def test_gradients_of_what_is_on_every_chip_are_summed(flagship):
  got = collectives.summary(estimate_at(flagship).collectives)
  assert set(got) == {'all-to-all', 'all-reduce'}
  assert got['all-reduce']['gb'] == pytest.approx(2 * OTHERS / 1e9, rel=0.01)


def test_split_dense_weights_are_gathered(flagship):
  got = collectives.summary(
      estimate_at(flagship, preset='fsdp_dense').collectives
  )
  # Forward, again, backward; not norms, nor what has no model dims.
  assert got['all-gather']['gb'] == pytest.approx(
      3 * 2 * OTHERS / 1e9, rel=0.01
  )
  assert got['reduce-scatter']['gb'] == pytest.approx(
      2 * OTHERS / 1e9, rel=0.01
  )
