"""Memory of a chip against numbers worked out by hand."""

from pax_softmoe.tpu import hardware
import pytest
from sweep_results import estimate_at

# Of SoftMoEH14: 16 layers of 128 MLPs, their biases included, and the rest.
EXPERTS = 16 * 128 * (2 * 1280 * 5120 + 5120 + 1280)


OTHERS = 27_318_132_649 - EXPERTS


def weight_gib(estimate):
  return estimate.gib['weights'] + estimate.gib['optimizer']


@pytest.mark.parametrize(
    'mesh, expert_parts', [((1, 1, 64, 1), 64), ((1, 4, 16, 1), 16)]
)
def test_experts_are_split_and_all_else_is_on_every_chip(
    flagship, mesh, expert_parts
):
  want = 3 * 4 * (EXPERTS / expert_parts + OTHERS) / hardware.GIB
  assert weight_gib(estimate_at(flagship, mesh)) == pytest.approx(want)


def test_bfloat16_first_moment_takes_half_of_it(flagship):
  full, half = estimate_at(flagship), estimate_at(
      flagship, first_moment='bfloat16'
  )
  saved = weight_gib(full) - weight_gib(half)
  assert saved == pytest.approx(2 * (EXPERTS / 64 + OTHERS) / hardware.GIB)


def test_zero_splits_expert_weights_over_data_too(flagship):
  got = estimate_at(flagship, (1, 4, 16, 1), 'expert_parallel_zero').gib[
      'weights'
  ]
  # All but the biases of the output, which have no hidden dims.
  biases = 16 * 128 * 1280
  parts = (EXPERTS - biases) / 64 + biases / 16 + OTHERS
  assert got == pytest.approx(4 * parts / hardware.GIB)
