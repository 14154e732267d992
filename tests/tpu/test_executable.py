"""Reading compiled programs, and why some are refused."""

import jax
from jax import numpy as jnp
from pax_softmoe.tpu import executable
from pax_softmoe.tpu import hardware
import pytest

V4 = hardware.find_slice('v4-8').chip


def report(**changes):
  values = dict(
      argument_bytes=100,
      output_bytes=80,
      alias_bytes=60,
      temp_bytes=7,
      code_bytes=3,
      matmul_flops=0,
      collectives=[],
      cycles=[],
      program=None,
  )
  return executable.Executable(**(values | changes))


def test_peak_counts_donated_arguments_once():
  assert report().peak_bytes == 100 + 80 - 60 + 7 + 3


def test_program_for_the_cpu():
  x = jax.ShapeDtypeStruct((64, 32), jnp.float32)
  compiled = jax.jit(lambda x: x @ x.T).lower(x).compile()
  got = executable.read(compiled)
  if jax.__version_info__ >= (0, 5):  # jaxlib 0.4.26 reports zeros.
    assert got.argument_bytes == 64 * 32 * 4
    assert got.output_bytes == 64 * 64 * 4
  assert got.matmul_flops == 2 * 64 * 64 * 32
  assert got.collectives == []
  assert got.compute_seconds(V4) == 0


@pytest.mark.libtpu
def test_program_for_tpu(eight_tpus):
  chip = jax.sharding.SingleDeviceSharding(eight_tpus[0])
  x = jax.ShapeDtypeStruct((4096, 4096), jnp.bfloat16, sharding=chip)

  def ten_products(x):
    return jax.lax.scan(lambda c, _: (c @ x, None), x, None, 10)[0]

  got = executable.read(jax.jit(ten_products).lower(x).compile())
  assert got.argument_bytes == got.output_bytes == 4096 * 4096 * 2
  assert got.matmul_flops == 10 * 2 * 4096**3
  # By the compiler's estimate, products of this size reach most of the peak.
  share = got.matmul_flops / got.compute_seconds(V4) / V4.peak_flops
  assert 0.5 < share < 1.0


@pytest.mark.libtpu
def test_program_that_does_not_fit_is_found_out(eight_tpus):
  chip = jax.sharding.SingleDeviceSharding(eight_tpus[0])
  x = jax.ShapeDtypeStruct((20 << 18, 1024), jnp.float32, sharding=chip)
  lowered = jax.jit(lambda x: x * 2).lower(x)
  if jax.__version_info__ < (0, 10):
    # Arguments and results fit, each for itself: the compiler has no objection.
    got = executable.read(lowered.compile())
    assert got.peak_bytes / hardware.GIB == pytest.approx(40, abs=0.1)
    assert got.peak_bytes > V4.usable_hbm_gib * hardware.GIB
    return
  with pytest.raises(Exception, match='RESOURCE_EXHAUSTED') as refused:
    lowered.compile()
  got = executable.parse_out_of_memory(str(refused.value))
  assert got == executable.OutOfMemory(used=40.0, usable=30.75, excess=9.25)


@pytest.mark.libtpu
def test_program_that_is_refused_tells_by_how_much(eight_tpus):
  chip = jax.sharding.SingleDeviceSharding(eight_tpus[0])
  x = jax.ShapeDtypeStruct((40 << 18, 1024), jnp.float32, sharding=chip)
  with pytest.raises(Exception, match='RESOURCE_EXHAUSTED') as refused:
    jax.jit(lambda x: x[:8]).lower(x).compile()
  got = executable.parse_out_of_memory(str(refused.value))
  assert got == executable.OutOfMemory(used=40.0, usable=30.75, excess=9.25)


@pytest.mark.parametrize(
    'message, want',
    [
        (
            (
                'RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm.'
                ' Used 51.40G of 30.75G hbm. Exceeded hbm capacity by 20.65G.'
            ),
            (51.40, 30.75, 20.65),
        ),
        (
            'Used 30.76G of 30.75G hbm. Exceeded hbm capacity by 512.0M.',
            (30.76, 30.75, 0.5),
        ),
        (
            (
                "Aborting compilation early because it's unlikely to have"
                ' enough device memory. Requires 256.00G, has 14.96G available.'
            ),
            (256.0, 14.96, 241.04),
        ),
        (
            (
                'the total memory required for HLO temporaries (512.00G)'
                ' exceeds available HBM (30.75G).'
            ),
            (512.0, 30.75, 481.25),
        ),
        (
            'Used 1.5T of 30.75G hbm. Exceeded hbm capacity by 1.25T.',
            (1536, 30.75, 1280),
        ),
    ],
)
def test_out_of_memory_in_gib(message, want):
  got = executable.parse_out_of_memory(message)
  assert (got.used, got.usable, got.excess) == pytest.approx(want)


def test_other_errors_are_none():
  assert executable.parse_out_of_memory('INVALID_ARGUMENT: no') is None
