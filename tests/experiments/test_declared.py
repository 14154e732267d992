"""The settings that all experiments have."""

from pax_softmoe import experiments
from pax_softmoe.experiments import declared
from pax_softmoe.experiments import settings
import pytest

GROUPS = declared.All.__bases__


def test_every_setting_is_in_one_group_alone():
  names = [n for group in GROUPS for n in vars(group)['__annotations__']]
  assert len(names) == len(set(names))
  assert set(names) == set(settings.declared(declared.All))


@pytest.mark.parametrize('group', GROUPS, ids=lambda g: g.__name__)
def test_defaults_are_values_that_their_settings_take(group):
  # Sizes that every experiment must give start at a 0 that is refused.
  unset = {'NUM_CLASSES', 'MODEL_DIMS', 'HIDDEN_DIMS', 'NUM_HEADS'}
  unset |= {'NUM_LAYERS', 'NUM_TRAIN_STEPS'}
  for name, declaration in settings.declared(group).items():
    problem = declaration.problem(getattr(group, name))
    assert bool(problem) == (name in unset), problem


def test_a_stateful_setting_is_kept():
  known = settings.declared(experiments.SoftMoEFashionMnist)
  kept = {name for name, of in known.items() if of.kept}
  # What decides which arrays a checkpoint has, and what they mean.
  assert kept >= {'NUM_EXPERTS', 'MOE_LAYERS', 'EMA_DECAY', 'SCAN_LAYERS'}
  # What a job may change on its way.
  assert not kept & {'TRAIN_BATCH_SIZE', 'ICI_MESH_SHAPE', 'SAVE_MAX_TO_KEEP'}
