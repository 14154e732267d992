"""Rules as they are written into templates."""

from pax_softmoe import experiments
from pax_softmoe import layers
from pax_softmoe.sharding import annotate
from pax_softmoe.sharding import axis_rules
from praxis import pax_fiddle
import pytest


def test_fields_of_a_layer_are_filled_by_their_letters():
  rules = axis_rules.preset('expert_parallel_zero')
  tpl = pax_fiddle.Config(layers.SoftMoE)
  annotate.annotate(tpl, rules)
  weights = tpl.weight_split_dims_mapping
  assert weights.edh == ('expert', None, 'data')
  assert weights.ed == ('expert', None)
  # The router's are no experts' weights.
  assert weights.dep == (None, None, None)
  assert tpl.activation_split_dims_mapping.ebpd == rules.activation('ebpd')


@pytest.mark.parametrize('name', ['SoftMoEB16', 'TokensChoiceB16', 'ViTB16'])
def test_all_of_a_classifier_is_annotated(name):
  rules = axis_rules.preset('expert_model_parallel')
  model = getattr(experiments, name)().model()
  annotate.annotate_classifier(model, rules)
  vit = model.vit_tpl
  assert vit.dense_tpl.weight_split_dims_mapping.ffn0 == (None, 'mdl')
  assert vit.dense_tpl.weight_split_dims_mapping.ffn1 == ('mdl', None)
  batch = ('replica', 'data', 'expert', 'mdl')
  tokens = vit.patch_tpl.activation_split_dims_mapping.bnd
  assert tokens == (batch, None, None)
  if name != 'ViTB16':
    experts = vit.moe_tpl.moe_tpl.weight_split_dims_mapping
    assert experts.edh == ('expert', None, 'mdl')
