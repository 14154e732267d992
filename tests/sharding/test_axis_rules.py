"""From letters to mesh axes, by hand."""

from pax_softmoe.sharding import axis_rules
import pytest

RULES = axis_rules.preset('expert_parallel')
BATCH = ('replica', 'data', 'expert')


def test_experts_take_their_axis_from_the_batch_in_slots_alone():
  assert RULES.activation('bnd') == (BATCH, None, None)
  assert RULES.activation('ebpd') == (
      'expert',
      ('replica', 'data'),
      None,
      None,
  )
  # Scores are where their tokens are.
  assert RULES.activation('bnep') == (BATCH, None, None, None)


def test_hidden_dims_take_their_axis_first():
  rules = axis_rules.preset('expert_model_parallel')
  assert rules.activation('bnh') == (BATCH, None, 'mdl')
  assert rules.activation('bnd') == ((*BATCH, 'mdl'), None, None)


@pytest.mark.parametrize(
    'preset, edh, dh',
    [
        ('expert_parallel', ('expert', None, None), (None, None)),
        ('expert_parallel_zero', ('expert', None, 'data'), (None, None)),
        ('fsdp_dense', ('expert', None, None), (('data', 'expert'), None)),
        ('expert_model_parallel', ('expert', None, 'mdl'), (None, 'mdl')),
        ('replicated', (None, None, None), (None, None)),
    ],
)
def test_weights_of_every_preset(preset, edh, dh):
  rules = axis_rules.preset(preset)
  assert rules.expert_weight('edh') == edh
  assert rules.dense_weight('dh') == dh


def test_an_override_changes_one_letter():
  changed = RULES.override({'expert_weights.h': 'data', 'activations.b': None})
  assert changed.expert_weight('edh') == ('expert', None, 'data')
  assert changed.activation('bnd') == (None, None, None)
  assert RULES.expert_weight('edh') == ('expert', None, None)


@pytest.mark.parametrize(
    'changes, message',
    [
        ({'weights.h': 'data'}, 'expected KIND.LETTER with KIND one of'),
        ({'expert_weights.z': 'data'}, 'LETTER one of b, n, d, e'),
        ({'expert_weights.h': 'model'}, "no mesh axis 'model'; use replica"),
        (
            {'expert_weights.h': ('data', 'data')},
            'a mesh axis twice; name each',
        ),
    ],
)
def test_overrides_that_cannot_be_are_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    RULES.override(changes)


def test_unknown_presets_are_refused():
  with pytest.raises(
      ValueError, match="no sharding preset 'x'; use one of exp"
  ):
    axis_rules.preset('x')


@pytest.mark.parametrize(
    'mesh, idle', [((1, 2, 4, 1), False), ((1, 1, 4, 2), True)]
)
def test_an_axis_that_splits_nothing_is_idle(mesh, idle):
  assert RULES.has_idle_axis(mesh) == idle


@pytest.mark.parametrize(
    'devices, experts, mesh',
    [
        (8, 128, (1, 1, 8, 1)),
        (512, 128, (1, 4, 128, 1)),
        (12, 8, (1, 3, 4, 1)),
        (8, 1, (1, 8, 1, 1)),
    ],
)
def test_the_default_mesh_is_as_wide_as_experts_allow(devices, experts, mesh):
  assert axis_rules.default_mesh_shape(devices, experts) == mesh


def test_bytes_of_an_array_are_padded_up():
  array = axis_rules.Array(
      'x', (10, 6), (('data', 'expert'), None), 4, (1, 2, 4, 1)
  )
  # Ten rows over eight devices are two on each.
  assert array.bytes_per_device == 2 * 6 * 4
  assert array.split_text() == 'data+expert, -'
  assert array.as_dict()['bytes_per_device'] == 48
  whole = axis_rules.Array('y', (3,), (None,), 4, (1, 2, 4, 1))
  assert whole.split_text() == 'replicated'
