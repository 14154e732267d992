"""Which meshes an experiment can run on, and what is said of the others."""

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


def test_every_mesh_that_is_called_valid_is_accepted(monkeypatch):
  meshes = fits.valid_meshes(experiment(8, monkeypatch), 8)
  assert meshes == [(1, 1, 8, 1), (1, 2, 4, 1), (1, 4, 2, 1), (1, 8, 1, 1)]
  for mesh in meshes:
    experiment(8, monkeypatch, ICI_MESH_SHAPE=mesh).validate()


@pytest.mark.parametrize(
    'mesh, settings, message',
    [
        (
            (1, 1, 3, 1),
            dict(TRAIN_BATCH_SIZE=96, EVAL_BATCH_SIZE=96),
            r'16 experts \(NUM_EXPERTS\) cannot be split over 3 devices of'
            r' a 1 x'
            r' 1 x 3 x 1 mesh.* one of 1, 2, 4, 8, 16; valid meshes: \(1, 3, 1,'
            r' 1\)',
        ),
        (
            (1, 16, 1, 1),
            dict(EVAL_BATCH_SIZE=160, TRAIN_BATCH_SIZE=72),
            r'72 images \(TRAIN_BATCH_SIZE\) cannot be split over 16 devices',
        ),
        (
            (1, 16, 1, 1),
            {},
            r'200 images \(EVAL_BATCH_SIZE\) cannot be split over 16 devices.*;'
            r' valid meshes: none for this many devices',
        ),
        (
            (1, 1, 1, 8),
            dict(SHARDING='expert_model_parallel'),
            r'4 heads \(NUM_HEADS\) cannot be split over 8 devices',
        ),
        (
            (1, 1, 1, 8),
            dict(SHARDING='expert_model_parallel', HIDDEN_DIMS=60),
            r'60 hidden dims \(HIDDEN_DIMS\) cannot be split over 8 devices',
        ),
        (
            (1, 5, 1, 1),
            dict(SHARDING='expert_parallel_zero', TRAIN_BATCH_SIZE=200),
            r'256 hidden dims \(HIDDEN_DIMS\) cannot be split over 5 devices',
        ),
        (
            (1, 5, 1, 1),
            dict(SHARDING='fsdp_dense', TRAIN_BATCH_SIZE=200),
            r'128 model dims \(MODEL_DIMS\) cannot be split over 5 devices',
        ),
    ],
)
def test_what_does_not_divide_is_named(mesh, settings, message, monkeypatch):
  devices = mesh[1] * mesh[2] * mesh[3]
  tried = experiment(devices, monkeypatch, ICI_MESH_SHAPE=mesh, **settings)
  with pytest.raises(ValueError, match='SoftMoEFashionMnist: ' + message):
    tried.validate()


def test_slices_multiply_the_mesh(monkeypatch):
  settings = dict(ICI_MESH_SHAPE=(1, 1, 4, 1), DCN_MESH_SHAPE=(2, 1, 1, 1))
  tried = experiment(8, monkeypatch, **settings)
  tried.validate()
  assert tried.mesh_shape() == (2, 1, 4, 1)
  assert tried.task().model.dcn_mesh_shape == (2, 1, 1, 1)


@pytest.mark.parametrize(
    'devices, settings, message',
    [
        (
            8,
            dict(DCN_MESH_SHAPE=(3, 1, 1, 1), ICI_MESH_SHAPE=(1, 1, 2, 1)),
            (
                '8 devices cannot be 3 equal slices; .*product is one of 1, 2,'
                ' 4, 8'
            ),
        ),
        (
            8,
            dict(DCN_MESH_SHAPE=(2, 1, 1, 1), ICI_MESH_SHAPE=(1, 1, 8, 1)),
            'a mesh of 2 x 1 x 8 x 1 needs 16 devices, and there are 8; set'
            r' ICI_MESH_SHAPE to one of \(1, 1, 4, 1\), \(1, 2, 2, 1\)',
        ),
        (
            24,
            dict(DCN_MESH_SHAPE=(3, 1, 1, 1), ICI_MESH_SHAPE=(1, 1, 8, 1)),
            r'64 images \(TRAIN_BATCH_SIZE\) cannot be split over 24 devices of'
            ' a 3 x 1 x 8 x 1 mesh',
        ),
    ],
)
def test_slices_that_do_not_fit(devices, settings, message, monkeypatch):
  with pytest.raises(ValueError, match=message):
    experiment(devices, monkeypatch, **settings).validate()


def test_batch_that_processes_cannot_share(monkeypatch):
  tried = experiment(1, monkeypatch, TRAIN_BATCH_SIZE=64, EVAL_BATCH_SIZE=200)
  monkeypatch.setattr(jax, 'process_count', lambda: 3)
  message = (
      r'64 images \(TRAIN_BATCH_SIZE\) cannot be read by 3 processes in equal'
      ' parts; set TRAIN_BATCH_SIZE to a multiple of 3'
  )
  with pytest.raises(ValueError, match=message):
    tried.validate()
