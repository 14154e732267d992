"""Which meshes an experiment can be split over."""

import itertools

import jax
from pax_softmoe import experiments
from pax_softmoe.sharding import fits
import pytest

SIZES = dict(
    MODEL_DIMS=128,
    HIDDEN_DIMS=256,
    NUM_HEADS=4,
    NUM_EXPERTS=16,
    TRAIN_BATCH_SIZE=64,
    EVAL_BATCH_SIZE=200,
)


def experiment(devices, monkeypatch, **settings):
  """Returns a Soft MoE of `SIZES` with some settings changed."""
  monkeypatch.setattr(jax, 'device_count', lambda: devices)
  settings = {**SIZES, **settings}
  return experiments.SoftMoEFashionMnist.with_settings(**settings)()


def all_meshes(chips):
  """Returns every (replica, data, expert, mdl) of `chips` with one replica."""
  sizes = range(1, chips + 1)
  for data, expert, mdl in itertools.product(sizes, repeat=3):
    if data * expert * mdl == chips:
      yield 1, data, expert, mdl


@pytest.mark.parametrize('chips', [1, 6, 8, 12, 16, 40])
@pytest.mark.parametrize(
    'preset, is_valid',
    [
        # The axes of the batch divide 64 and 200, that is 8. Only the preset
        # with letters on `mdl` has a use for it.
        (
            'expert_parallel',
            lambda d, e, m: m == 1 and 16 % e == 0 and 8 % (d * e) == 0,
        ),
        # Hidden dims are 256, which all data axes that divide 8 divide too.
        (
            'expert_parallel_zero',
            lambda d, e, m: m == 1 and 16 % e == 0 and 8 % (d * e) == 0,
        ),
        (
            'fsdp_dense',
            lambda d, e, m: m == 1 and 16 % e == 0 and 8 % (d * e) == 0,
        ),
        (
            'expert_model_parallel',
            lambda d, e, m: 16 % e == 0 and 8 % (d * e * m) == 0 and 4 % m == 0,
        ),
        ('replicated', lambda d, e, m: m == 1 and 8 % (d * e) == 0),
    ],
)
def test_valid_meshes_are_those_that_divide(
    chips, preset, is_valid, monkeypatch
):
  tried = experiment(chips, monkeypatch, SHARDING=preset)
  want = {m for m in all_meshes(chips) if is_valid(*m[1:])}
  assert set(fits.valid_meshes(tried, chips)) == want


def test_a_mesh_problem_names_setting_sizes_and_mesh(monkeypatch):
  tried = experiment(8, monkeypatch)
  assert fits.mesh_problem(tried, (1, 1, 8, 1)) is None
  assert fits.mesh_problem(tried, (1, 1, 32, 1)) == (
      '16 experts (NUM_EXPERTS) cannot be split over 32 devices of a 1 x 1 x 32'
      ' x 1 mesh; the number must be one of 1, 2, 4, 8, 16'
  )


def test_every_device_needs_images_for_every_part(monkeypatch):
  sizes = dict(TRAIN_BATCH_SIZE=48, EVAL_BATCH_SIZE=96)
  tried = experiment(8, monkeypatch, EXCHANGE_PARTS=2, **sizes)
  assert fits.mesh_problem(tried, (1, 1, 8, 1)) is None
  tried = experiment(8, monkeypatch, EXCHANGE_PARTS=4, **sizes)
  assert fits.mesh_problem(tried, (1, 1, 8, 1)) == (
      '6 images of a device (TRAIN_BATCH_SIZE) cannot go to experts in 4 equal'
      ' parts (EXCHANGE_PARTS); the number must be one of 1, 2, 3, 6'
  )


def test_a_dense_model_has_no_experts_to_split(monkeypatch):
  monkeypatch.setattr(jax, 'device_count', lambda: 8)
  dense = experiments.ViTFashionMnist.with_settings(
      TRAIN_BATCH_SIZE=64, EVAL_BATCH_SIZE=200
  )()
  assert fits.mesh_problem(dense, (1, 1, 8, 1)) is None


@pytest.mark.parametrize(
    'n, divisors', [(1, [1]), (12, [1, 2, 3, 4, 6, 12]), (49, [1, 7, 49])]
)
def test_divisors(n, divisors):
  assert fits.divisors(n) == divisors


def test_long_lists_are_cut():
  assert fits.numbers([1, 2, 3]) == '1, 2, 3'
  assert fits.numbers(list(range(1, 13))) == '1, 2, 3, 4, 5, 6, 7, 8, …, 12'
  assert fits.listed([]) == 'none for this many devices'
  assert fits.listed([(1, 1, 8, 1)]) == '(1, 1, 8, 1)'
