"""Writes sharding rules into the templates of a model."""

import dataclasses

from pax_softmoe.sharding import axis_rules
from praxis import base_layer
from praxis import pax_fiddle

LayerTpl = pax_fiddle.Config[base_layer.BaseLayer]

_EXPERT_WEIGHTS = ('edh', 'ehd', 'eh', 'ed')


def annotate(layer_tpl: LayerTpl, rules: axis_rules.ShardingRules) -> None:
  """Fills the sharding fields of one layer that are named by einsum letters.

  Args:
    layer_tpl: template of a layer of this package, changed in place.
    rules: mesh axes by letter.
  """
  layer = layer_tpl.cls
  for letters in _letter_fields(layer.WeightSharding):
    rule = (
        rules.expert_weight
        if letters in _EXPERT_WEIGHTS
        else rules.dense_weight
    )
    setattr(layer_tpl.weight_split_dims_mapping, letters, rule(letters))
  for letters in _letter_fields(layer.ActivationSharding):
    split = rules.activation(letters)
    setattr(layer_tpl.activation_split_dims_mapping, letters, split)


def annotate_classifier(
    model_tpl: LayerTpl, rules: axis_rules.ShardingRules
) -> None:
  """Fills all sharding fields of an `ImageClassifier` template, in place."""
  vit = model_tpl.vit_tpl
  for tpl in (
      vit.patch_tpl,
      vit.block_tpl.attention_tpl,
      vit.moe_tpl.moe_tpl,
      model_tpl.head_tpl,
  ):
    annotate(tpl, rules)
  # praxis' dense layer names its fields by position.
  dense = vit.dense_tpl
  dense.weight_split_dims_mapping.ffn0 = rules.dense_weight('dh')
  dense.weight_split_dims_mapping.ffn1 = rules.dense_weight('hd')
  dense.activation_split_dims_mapping.ffn0 = rules.activation('bnh')
  dense.activation_split_dims_mapping.ffn1 = rules.activation('bnd')


def _letter_fields(sharding_class: type) -> list[str]:
  """Returns the fields that a layer adds to those every layer has."""
  names = {field.name for field in dataclasses.fields(sharding_class)}
  common = (
      base_layer.BaseLayer.WeightSharding,
      base_layer.BaseLayer.ActivationSharding,
  )
  for base in common:
    names -= {field.name for field in dataclasses.fields(base)}
  return sorted(names)
