"""Compiling for TPUs without one."""

import dataclasses
import importlib.util
import os
import sys

import jax
from jax import numpy as jnp
import numpy as np
from pax_softmoe.hlo import collectives
from pax_softmoe.hlo import costs
from pax_softmoe.hlo import module
from pax_softmoe.tpu import hardware
from pax_softmoe.tpu import libtpu
import pytest

X_BYTES = 8 * 16 * 256 * 4
needs_tpu7x = pytest.mark.skipif(
    jax.__version_info__ < (0, 10), reason='libtpu 0.0.11.4 knows no tpu7x'
)
CHIPS = [
    pytest.param(
        chip, id=chip.name, marks=[needs_tpu7x] if chip.name == 'tpu7x' else []
    )
    for chip in hardware.CHIPS
]


def read(compiled):
  return module.of(compiled)


def test_unknown_slice_lists_those_that_exist():
  with pytest.raises(ValueError, match="no TPU slice 'v4-12'.*v4-8, v4-16"):
    libtpu.topology_devices('v4-12')


def hide_libtpu(monkeypatch, tmp_path):
  monkeypatch.delenv('TPU_LIBRARY_PATH', raising=False)
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
  monkeypatch.setattr(sys, 'prefix', str(tmp_path))


def test_missing_libtpu_says_what_to_install(monkeypatch, tmp_path):
  hide_libtpu(monkeypatch, tmp_path)
  with pytest.raises(RuntimeError, match=r"pip install 'pax_softmoe\[tpu\]'"):
    libtpu.topology_devices('v4-8')


def test_libtpu_is_found_in_the_environments_folder(monkeypatch, tmp_path):
  hide_libtpu(monkeypatch, tmp_path)
  library = tmp_path / 'libtpu' / 'libtpu' / 'libtpu.so'
  library.parent.mkdir(parents=True)
  library.touch()
  assert libtpu.path() == str(library)


def test_libtpu_is_found_by_variable_first(monkeypatch, tmp_path):
  library = tmp_path / 'libtpu.so'
  library.touch()
  monkeypatch.setenv('TPU_LIBRARY_PATH', str(library))
  assert libtpu.path() == str(library)


@pytest.mark.libtpu
@pytest.mark.parametrize('chip', CHIPS)
def test_devices_are_those_of_the_slice(chip, eight_tpus):
  del eight_tpus  # There is libtpu.
  for name, tpu_slice in hardware.SLICES.items():
    if tpu_slice.chip is chip:
      devices = libtpu.topology_devices(name)
      coords = tuple((*device.coords, 0, 0)[:3] for device in devices)
      assert coords == tpu_slice.coordinates, name
      assert hardware.find_chip(devices[0].device_kind) is chip
      cores = [device.core_on_chip for device in devices[: chip.devices]]
      assert cores == list(range(chip.devices))


@pytest.mark.libtpu
def test_a_chip_that_libtpu_does_not_know_names_versions(
    eight_tpus, monkeypatch
):
  del eight_tpus
  unknown = dataclasses.replace(hardware.find_slice('v4-8').chip, name='v99')
  monkeypatch.setitem(
      hardware.SLICES, 'v99-8', hardware.Slice('v99-8', unknown, (2, 2, 1))
  )
  with pytest.raises(
      RuntimeError,
      match=r'does not give devices of v99:2x2x1 .*use libtpu 0\.0',
  ):
    libtpu.topology_devices('v99-8')


@pytest.mark.libtpu
def test_version_is_that_of_the_library(eight_tpus):
  del eight_tpus
  belongs = '0.0.11.4' if jax.__version_info__ < (0, 6) else '0.0.42.1'
  assert libtpu.version() == belongs


@pytest.mark.libtpu
@pytest.mark.parametrize('chip', CHIPS)
def test_a_big_product_nears_the_peak_and_no_more(chip, eight_tpus):
  """So are the matrix units of each chip known, and with them its clock."""
  del eight_tpus
  smallest = next(s for s in hardware.SLICES.values() if s.chip is chip)
  device = libtpu.topology_devices(smallest.name)[0]
  sharding = jax.sharding.SingleDeviceSharding(device)
  x = jax.ShapeDtypeStruct((4096, 4096), jnp.bfloat16, sharding=sharding)
  compiled = jax.jit(lambda x: x @ x).lower(x).compile()
  cycles = sum(c.total for c in costs.cycles(read(compiled)))
  assert 0.8 < 2 * 4096**3 / cycles / chip.flops_per_cycle < 1.0
  # A sum of big arrays takes its bytes no faster than the memory gives them.
  x = jax.ShapeDtypeStruct((16384, 8192), jnp.float32, sharding=sharding)
  compiled = jax.jit(lambda x: x + 1).lower(x).compile()
  cycles = sum(c.total for c in costs.cycles(read(compiled)))
  speed = 2 * 16384 * 8192 * 4 / cycles * chip.clock_hz
  assert 0.65 < speed / chip.hbm_bytes_per_second < 1.0


@pytest.mark.libtpu
def test_child_processes_do_not_see_libtpu(eight_tpus, monkeypatch):
  monkeypatch.delenv('TPU_LIBRARY_PATH', raising=False)
  libtpu.topology_devices('v4-8')
  assert 'TPU_LIBRARY_PATH' not in os.environ
  assert os.environ['TPU_SKIP_MDS_QUERY'] == '1'


@pytest.mark.libtpu
@pytest.mark.parametrize(
    'name', ['matmul', 'batched', 'scan', 'nested', 'count_up', 'conditional']
)
def test_matrix_products_on_tpu_are_those_on_cpu(
    compiled, compiled_for_tpu, name
):
  want = costs.matmul_flops(compiled(name))
  assert costs.matmul_flops(read(compiled_for_tpu(name))) == want


@pytest.mark.libtpu
@pytest.mark.parametrize(
    'name, kind, count, size, group_size',
    [
        ('all_to_all', 'all-to-all', 1, X_BYTES, 4),
        ('all_to_all_in_scan', 'all-to-all', 6, X_BYTES, 4),
        ('all_to_all_bfloat16', 'all-to-all', 1, X_BYTES // 2, 4),
        ('all_gather', 'all-gather', 1, 2 * X_BYTES, 2),
        ('gather_as_sum', 'all-gather', 1, 64 * 32 * 4, 4),
        ('sum_of_slices', 'all-reduce', 1, 64 * 32 * 4, 4),
        ('all_reduce', 'all-reduce', 1, X_BYTES, 4),
        ('reduce_scatter', 'reduce-scatter', 1, 4 * X_BYTES, 4),
        ('permute', 'collective-permute', 1, X_BYTES, 2),
    ],
)
def test_collectives_on_tpu(
    compiled_for_tpu, name, kind, count, size, group_size
):
  (found,) = collectives.collectives(read(compiled_for_tpu(name)))
  assert (found.kind, found.count) == (kind, count)
  assert (found.bytes, found.group_size) == (size, group_size)


@pytest.mark.libtpu
def test_cycles_of_a_loop_grow_with_its_turns(compiled_for_tpu):
  found = costs.cycles(read(compiled_for_tpu('scan')))
  (product,) = [c for c in found if 'dot_general' in c.op_name]
  assert product.count == 7
  # A tiny product takes hundreds of cycles, not millions.
  assert 100 < product.each < 100_000


@pytest.mark.libtpu
@needs_tpu7x
def test_what_sparse_cores_exchange_counts_once(eight_tpus):
  del eight_tpus
  mesh = jax.sharding.Mesh(np.array(libtpu.topology_devices('tpu7x-16')), 'x')
  rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec('x'))
  x = jax.ShapeDtypeStruct((4096, 4096), jnp.bfloat16, sharding=rows)

  def step(w, x):
    return w - jax.grad(lambda w: jnp.sum(jnp.tanh(x @ w)))(w)

  program = read(jax.jit(step, out_shardings=rows).lower(x, x).compile())
  # They run beside the rest, as calls that start and are waited for.
  assert any(i.opcode == 'async-start' for i in program.instructions)
  found = {c.kind: c for c in collectives.collectives(program)}
  assert found.keys() == {'all-gather', 'reduce-scatter'}
  for c in found.values():
    assert (c.count, c.bytes, c.group_size) == (1, 4096 * 4096 * 2, 16)
