"""What compiled train steps send between eight devices, and what they compute.

The CPU compiler sends bfloat16 as float32 and says so; sizes here are numbers
of elements, which no compiler changes.
"""

import json
import math
import os
import pathlib
import subprocess
import sys

from pax_softmoe import compat
from pax_softmoe.hlo import collectives
from pax_softmoe.hlo import costs
from pax_softmoe.hlo import module as hlo_module
import pytest
import sharding_programs

DEVICES = 8
MOE_LAYERS = 2
# Of the models in `sharding_cases`: batch, dims, hidden dims, experts, slots.
B, D, H, E, P = 16, 16, 32, 8, 1
ITEMSIZE = {'bf16': 2, 'f32': 4}
# Devices along the expert and the data axis of a 2 x 4 mesh, and along the model
# axis of a 2 x 2 x 2 mesh.
EXPERT_GROUPS = ((0, 1, 2, 3), (4, 5, 6, 7))
DATA_GROUPS = ((0, 4), (1, 5), (2, 6), (3, 7))
MODEL_GROUPS = ((0, 1), (2, 3), (4, 5), (6, 7))
# There slots go to their experts among neighbours, who then change places.
WITH_MODEL_GROUPS = (MODEL_GROUPS, ((0, 2), (1, 3), (4, 6), (5, 7)))

newer_compiler = pytest.mark.skipif(
    compat.version('jax') < (0, 5),
    reason=(
        'before jax 0.5 the compiler for CPUs gathers labels and what sparse'
        ' routers sort, and does not tell the sizes of arguments'
    ),
)


@pytest.fixture(name='folder', scope='session')
def _folder(tmp_path_factory) -> pathlib.Path:
  """Every program of `sharding_programs`, compiled."""
  folder = tmp_path_factory.mktemp('programs')
  environment = os.environ | {
      'JAX_PLATFORMS': 'cpu',
      'XLA_FLAGS': f'--xla_force_host_platform_device_count={DEVICES}',
  }
  subprocess.run(
      [sys.executable, sharding_programs.__file__, folder],
      env=environment,
      stdout=subprocess.DEVNULL,
      check=True,
  )
  return folder


@pytest.fixture(name='module', scope='session')
def _module(folder):
  """Returns the program of a name."""

  def read(name):
    serialized = (folder / f'{name}.hlo').read_bytes()
    return hlo_module.parse(serialized, 1 if name == 'single' else DEVICES)

  return read


def of_kind(module, kind):
  return [c for c in collectives.collectives(module) if c.kind == kind]


def elements(collective):
  return collective.bytes // ITEMSIZE[collective.dtype]


def groups(collective):
  return tuple(sorted(tuple(sorted(g)) for g in collective.groups))


@pytest.mark.parametrize(
    'name, exchanges_per_layer, slots_per_image, where',
    [
        ('expert_parallel', 4, E * P, (EXPERT_GROUPS,)),
        ('expert_parallel-products', 4, E * P, (EXPERT_GROUPS,)),
        # All of a block is computed again for the backward pass.
        ('expert_parallel-full', 6, E * P, (EXPERT_GROUPS,)),
        # Twice as many, of half as many slots.
        ('expert_parallel-parts', 8, E * P // 2, (EXPERT_GROUPS,)),
        ('expert_parallel_zero', 4, E * P, (EXPERT_GROUPS,)),
        ('fsdp_dense', 4, E * P, (EXPERT_GROUPS,)),
        ('expert_model_parallel', 4, E * P, WITH_MODEL_GROUPS),
        # Groups of 2 images of 16 tokens: two choices of 32 tokens make 8 slots
        # an expert, one choice makes 4.
        pytest.param(
            'tokens', 4, E * 8 // 2, (EXPERT_GROUPS,), marks=newer_compiler
        ),
        pytest.param(
            'experts', 4, E * 4 // 2, (EXPERT_GROUPS,), marks=newer_compiler
        ),
        ('replicated', 0, E * P, (EXPERT_GROUPS,)),
    ],
)
def test_exchanges_are_the_slots_of_own_images_each_way(
    name, exchanges_per_layer, slots_per_image, where, module
):
  found = of_kind(module(name), 'all-to-all')
  if name == 'expert_parallel_zero':
    found = [c for c in found if groups(c) != DATA_GROUPS]
  assert sum(c.count for c in found) == exchanges_per_layer * MOE_LAYERS
  for c in found:
    assert elements(c) == B // DEVICES * slots_per_image * D
    assert c.source_dtype == 'bf16'
    assert groups(c) in where
  permutations = of_kind(module(name), 'collective-permute')
  if name == 'expert_model_parallel':
    assert [c.bytes for c in permutations] == [c.bytes for c in found]
  else:
    assert not permutations


@newer_compiler
@pytest.mark.parametrize(
    'name',
    [
        'expert_parallel',
        'expert_parallel-products',
        'expert_parallel-full',
        'replicated',
    ],
)
def test_nothing_is_gathered(name, module):
  assert not of_kind(module(name), 'all-gather')


@newer_compiler
@pytest.mark.parametrize('name', ['tokens', 'experts'])
def test_sparse_routers_gather_scores_only(name, module):
  """A limit of the CPU's compiler, which does not split `top_k`."""
  tokens = B * 16
  found = of_kind(module(name), 'all-gather')
  assert found
  for c in found:
    assert c.op_name.endswith('/top_k')
    assert elements(c) == tokens * E


@newer_compiler
def test_zero_gathers_each_device_its_own_experts_over_data(module):
  found = of_kind(module('expert_parallel_zero'), 'all-gather')
  # Twice: the backward pass gathers again what was not kept.
  own = E // 4
  want = sorted([own * D * H, own * H * D, own * H] * 2)
  assert sorted(map(elements, found)) == want
  for c in found:
    assert c.count == MOE_LAYERS
    assert c.source_dtype == 'bf16'
    assert groups(c) == DATA_GROUPS


@newer_compiler
def test_zero_adds_parts_of_kernel_gradients_that_crossed_data(module):
  found = [
      c
      for c in of_kind(module('expert_parallel_zero'), 'all-to-all')
      if groups(c) == DATA_GROUPS
  ]
  # Of both kernels of the experts that a device has.
  assert sum(c.count for c in found) == 2 * MOE_LAYERS
  assert {elements(c) for c in found} == {E // 4 * D * H}


def test_fsdp_gathers_dense_weights_only(module):
  found = of_kind(module('fsdp_dense'), 'all-gather')
  pixels, classes = 7 * 7, 10
  weights = {D * D, D * H, D * E * P, pixels * D, D * classes}
  assert weights == set(map(elements, found))
  assert not any('/experts/' in c.op_name for c in found)


@newer_compiler
def test_model_parallelism_gathers_over_its_own_axis_only(module):
  found = of_kind(module('expert_model_parallel'), 'all-gather')
  assert found
  assert {groups(c) for c in found} == {MODEL_GROUPS}


@newer_compiler
def test_zero_splits_expert_weights_and_both_moments_over_data(folder):
  sizes = json.loads((folder / 'sizes.json').read_text())
  # `bo` [E, D] has no hidden dims to split.
  own = (2 * E * D * H + E * H) // 4
  variables_and_moments = 3
  saved = own // 2 * variables_and_moments * 4 * MOE_LAYERS
  got = sizes['expert_parallel'] - sizes['expert_parallel_zero']
  assert got == saved


@pytest.mark.parametrize(
    'name',
    [
        'expert_parallel',
        'expert_parallel_zero',
        'fsdp_dense',
        'expert_model_parallel',
        'replicated',
    ],
)
def test_devices_share_the_arithmetic(name, module):
  whole = costs.matmul_flops(module('single'))
  share = costs.matmul_flops(module(name))
  assert math.ceil(whole / DEVICES) <= share <= whole / DEVICES * 1.05
