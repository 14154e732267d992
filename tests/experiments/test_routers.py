"""From the settings of a router to its layer."""

from pax_softmoe import experiments
from pax_softmoe.layers import experts_choice
from pax_softmoe.layers import fixed_routing
from pax_softmoe.layers import soft_moe
from pax_softmoe.layers import tokens_choice
import pytest


def moe_of(name, **settings):
  return getattr(experiments, name).with_settings(**settings)().moe_tpl()


@pytest.mark.parametrize(
    'name, layer, settings',
    [
        (
            'SoftMoEFashionMnist',
            soft_moe.SoftMoE,
            dict(NUM_EXPERTS=3, SLOTS_PER_EXPERT=5, NORMALIZE=False),
        ),
        (
            'TokensChoiceFashionMnist',
            tokens_choice.TokensChoiceMoE,
            dict(NUM_SELECTED_EXPERTS=2, GROUP_SIZE=4, LOAD_LOSS_WEIGHT=0.25),
        ),
        (
            'ExpertsChoiceFashionMnist',
            experts_choice.ExpertsChoiceMoE,
            dict(CAPACITY_FACTOR=0.5, GROUP_SIZE=4, NOISE_STDDEV=0.0),
        ),
        (
            'IdentityFashionMnist',
            fixed_routing.FixedRoutingMoE,
            dict(NUM_EXPERTS=2, ROUTING='uniform'),
        ),
    ],
)
def test_settings_are_fields_of_the_layer(name, layer, settings):
  moe = moe_of(name, **settings)
  assert moe.cls is layer
  for setting, value in settings.items():
    assert getattr(moe, setting.lower()) == value


def test_a_dense_model_has_no_experts():
  dense = experiments.ViTFashionMnist()
  assert dense.moe_tpl() is None
  assert (dense.num_experts(), dense.num_moe_layers()) == (1, 0)


@pytest.mark.parametrize(
    'name, group',
    [
        ('SoftMoEFashionMnist', 1),
        ('ViTFashionMnist', 1),
        ('TokensChoiceB16', 8),
    ],
)
def test_images_of_sparse_routers_alone_compete(name, group):
  assert getattr(experiments, name)().group_size() == group


def test_only_what_a_router_learns_besides_kernels_decays():
  decay = dict(experiments.SoftMoEB16().weight_decays())
  assert decay[r'.*/moe/scale'] == 0.03
  assert r'.*/moe/gate' in dict(experiments.TokensChoiceB16().weight_decays())
  assert not any(
      'moe' in name for name, _ in experiments.ViTB16().weight_decays()
  )
