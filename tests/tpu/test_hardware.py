"""TPU slices and compiling for them."""

import importlib.util
import os
import sys

from pax_softmoe import experiments
from pax_softmoe.hlo import collectives
from pax_softmoe.hlo import costs
from pax_softmoe.hlo import module
from pax_softmoe.tpu import hardware
import pytest

X_BYTES = 8 * 16 * 256 * 4


def read(compiled):
  return module.of(compiled)


@pytest.mark.parametrize('name', hardware.SLICES)
def test_slices_have_a_chip_for_two_cores(name):
  found = hardware.find_slice(name)
  assert found.name == name
  assert found.chips == int(name.removeprefix('v4-')) // 2
  assert sorted(set(found.coordinates)) == sorted(found.coordinates)
  assert len(found.coordinates) == found.chips


def test_a_slice_in_detail():
  assert hardware.find_slice('v4-8').topology == 'v4:2x2x1'
  assert hardware.find_slice('v4-64').topology == 'v4:2x4x4'
  assert not hardware.find_slice('v4-64').is_torus
  assert hardware.find_slice('v4-128').is_torus


def test_unknown_slice_lists_those_that_exist():
  with pytest.raises(ValueError, match="no TPU slice 'v4-12'.*v4-8, v4-16"):
    hardware.topology_devices('v4-12')


def hide_libtpu(monkeypatch, tmp_path):
  monkeypatch.delenv('TPU_LIBRARY_PATH', raising=False)
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
  monkeypatch.setattr(sys, 'prefix', str(tmp_path))


def test_missing_libtpu_says_what_to_install(monkeypatch, tmp_path):
  hide_libtpu(monkeypatch, tmp_path)
  with pytest.raises(RuntimeError, match=r"pip install 'pax_softmoe\[tpu\]'"):
    hardware.topology_devices('v4-8')


def test_libtpu_is_found_in_the_environments_folder(monkeypatch, tmp_path):
  hide_libtpu(monkeypatch, tmp_path)
  library = tmp_path / 'libtpu' / 'libtpu' / 'libtpu.so'
  library.parent.mkdir(parents=True)
  library.touch()
  assert hardware.libtpu_path() == str(library)


def test_libtpu_is_found_by_variable_first(monkeypatch, tmp_path):
  library = tmp_path / 'libtpu.so'
  library.touch()
  monkeypatch.setenv('TPU_LIBRARY_PATH', str(library))
  assert hardware.libtpu_path() == str(library)


@pytest.mark.libtpu
def test_devices_are_the_chips_of_the_slice(eight_tpus):
  assert [device.device_kind for device in eight_tpus] == ['TPU v4'] * 8
  for name, tpu_slice in hardware.SLICES.items():
    devices = hardware.topology_devices(name)
    assert tuple(tuple(d.coords) for d in devices) == tpu_slice.coordinates


@pytest.mark.libtpu
def test_child_processes_do_not_see_libtpu(eight_tpus, monkeypatch):
  monkeypatch.delenv('TPU_LIBRARY_PATH', raising=False)
  hardware.topology_devices('v4-8')
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
  # 550 TFLOP/s at most: a tenth of them is 55e12 / 51,936 images.
  assert hardware.utilization(55e12 / 51_936, flop, 2) == pytest.approx(0.1)
