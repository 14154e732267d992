"""Groups of devices in every form that they are written in."""

from pax_softmoe.hlo import device_groups
import pytest


@pytest.mark.parametrize(
    'text, want',
    [
        ('{{0,1,2,3},{4,5,6,7}}', ((0, 1, 2, 3), (4, 5, 6, 7))),
        ('{{0,4},{1,5},{2,6},{3,7}}', ((0, 4), (1, 5), (2, 6), (3, 7))),
        ('[2,4]<=[8]', ((0, 1, 2, 3), (4, 5, 6, 7))),
        ('[1,8]<=[8]', (tuple(range(8)),)),
        ('[4,2]<=[2,4]T(1,0)', ((0, 4), (1, 5), (2, 6), (3, 7))),
        ('[2,2,2]<=[8]', ((0, 1, 2, 3), (4, 5, 6, 7))),
        ('[4,2]<=[2,2,2]T(2,0,1)', ((0, 2), (4, 6), (1, 3), (5, 7))),
        ('{}', (tuple(range(8)),)),
    ],
)
def test_groups(text, want):
  assert device_groups.parse(text, 8) == want


def test_pairs_of_a_permutation(compiled):
  module = compiled('permute')
  (permute,) = [
      i for i in module.instructions() if i.opcode == 'collective-permute'
  ]
  assert device_groups.of(module, permute)[:4] == (
      (0, 1),
      (1, 2),
      (2, 3),
      (3, 0),
  )


def test_unknown_form_is_refused():
  with pytest.raises(ValueError, match='cannot read these groups'):
    device_groups.parse("mesh['a'=2]", 8)
