"""What one chip has of a model and of a batch."""

from pax_softmoe import experiments
from pax_softmoe.model_size import placement
from pax_softmoe.tuning import placed
from pax_softmoe.tuning import space


def place(mesh, preset='expert_parallel'):
  point = space.Point(mesh, preset, 'full', 16)
  of = experiments.SoftMoEFashionMnist.with_settings(**point.settings())()
  weights = placement.weights(of)
  return placed.Placed(of, point, weights, forward_flops=1, tokens=16, slots=16)


def test_chips_that_share_weights_have_each_others_tokens():
  # Two chips along `mdl` split attention heads, and both see all tokens.
  assert place((1, 1, 8, 1)).images == 16
  assert place((1, 1, 4, 2)).images == 32


def test_only_axes_with_several_chips_split_anything():
  at = place((1, 2, 4, 1))
  assert at.axes(at.rules.activations, 'b') == ('data', 'expert')
  assert at.axes(at.rules.activations, 'e') == ('expert',)
  assert at.axes(at.rules.activations, 'ha') == ()
  assert at.parts(('data', 'expert')) == 8


def test_float32_weights_are_four_bytes_each():
  at = place((1, 1, 8, 1))
  assert at.weight_bytes == 4 * at.weight_count
