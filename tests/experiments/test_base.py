"""Settings that no experiment can have, and the mesh that one has by default."""

import jax
from pax_softmoe import experiments
import pytest


def demo(**settings):
  return experiments.SoftMoEFashionMnist.with_settings(**settings)()


@pytest.mark.parametrize(
    'settings, message',
    [
        (dict(IMAGE_SIZE=30), 'images of 30 pixels cannot be cut into patches'),
        (
            dict(MODEL_DIMS=97),
            r'97 model dims \(MODEL_DIMS\) cannot be split into',
        ),
        (
            dict(NUM_EXPERTS=0),
            r'NUM_EXPERTS is 0 \(int\); it takes a whole number of 1 or more',
        ),
        (dict(TRAIN_BATCH_SIZE=0), 'TRAIN_BATCH_SIZE is 0 '),
        (dict(MOE_LAYERS=(0, 99)), 'MOE_LAYERS has 99, but blocks are 0 to'),
        (
            dict(REMAT='some'),
            r"REMAT is 'some' \(str\); it takes one of full, exchange",
        ),
        (
            dict(SHARDING='best'),
            r"SHARDING is 'best' \(str\); it takes one of expert_parallel",
        ),
        (
            dict(SHARDING_OVERRIDES={'weights.h': 'data'}),
            "sharding override 'weights.h': expected KIND.LETTER",
        ),
        (
            dict(SHARDING_OVERRIDES={'dense_weights.h': 'model'}),
            "no mesh axis 'model'; use replica, data, expert, mdl",
        ),
        (dict(NUM_CLASSES=11), 'the data has 10 classes and NUM_CLASSES is 11'),
        (dict(NUM_TRAIN_STEPS=10), 'do not fit into 10 steps'),
        (
            dict(ICI_MESH_SHAPE=(1, 2, 1, 1)),
            'a mesh of 1 x 2 x 1 x 1 needs 2 devices, and there are 1; set'
            r' ICI_MESH_SHAPE to one of \(1, 1, 1, 1\)',
        ),
        (
            dict(ICI_MESH_SHAPE=(1, 1)),
            (
                r'ICI_MESH_SHAPE is \(1, 1\) \(tuple\); it takes a size of 1 or'
                r' more for'
            ),
        ),
        (
            dict(DATA_DIR='/nonexistent'),
            'DATA_DIR: there is no folder /nonexistent',
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, message):
  with pytest.raises(ValueError, match=message):
    demo(**settings).validate()


def test_experts_that_do_not_divide_over_the_mesh(monkeypatch):
  monkeypatch.setattr(jax, 'device_count', lambda: 48)
  experiment = experiments.SoftMoEH14.with_settings(
      ICI_MESH_SHAPE=(1, 1, 48, 1), TRAIN_BATCH_SIZE=4800, EVAL_BATCH_SIZE=4800
  )()
  message = (
      'SoftMoEH14: 128 experts .* cannot be split over 48 devices of a 1 x 1 x'
      r' 48 x 1 mesh.*valid meshes: \(1, 3, 16, 1\)'
  )
  with pytest.raises(ValueError, match=message):
    experiment.validate()


@pytest.mark.parametrize(
    'devices, mesh',
    [(1, (1, 1, 1, 1)), (64, (1, 1, 64, 1)), (512, (1, 4, 128, 1))],
)
def test_default_mesh_has_the_widest_expert_axis(devices, mesh, monkeypatch):
  monkeypatch.setattr(jax, 'device_count', lambda: devices)
  experiment = experiments.SoftMoEH14()
  assert experiment.mesh_shape() == mesh
  experiment.validate()


def test_misspelt_setting_in_a_subclass_is_refused():
  class Misspelt(experiments.SoftMoEFashionMnist):
    NUM_EXPERT = 4

  with pytest.raises(ValueError, match='there is no setting NUM_EXPERT;'):
    Misspelt().validate()


def test_data_that_is_needed_and_not_given_is_asked_for():
  with pytest.raises(ValueError, match='DATA_DIR'):
    experiments.SoftMoEH14().datasets()[0].Instantiate()
