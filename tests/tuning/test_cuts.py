"""Deep models that are known from shallow ones."""

from pax_softmoe import experiments
from pax_softmoe.tuning import child
from pax_softmoe.tuning import cuts
import pytest
from sweep_results import REQUEST


@pytest.mark.parametrize(
    'name, settings, want',
    [
        # (blocks, the first of them with experts) of the two cut models.
        ('SoftMoEH14', {}, [(4, 2), (8, 4)]),
        ('SoftMoEH14', {'MOE_LAYERS': tuple(range(24, 32))}, [(4, 3), (8, 6)]),
        ('ViTH14', {}, [(4, 4), (8, 8)]),
        # No ratio of 1 to 11 is kept by fewer blocks.
        ('SoftMoES16', {'MOE_LAYERS': (11,)}, []),
        ('SoftMoES16', {'NUM_LAYERS': 8}, []),
        ('SoftMoEH14', {'SCAN_LAYERS': True}, []),
    ],
)
def test_cut_models_keep_the_ratio_of_blocks(name, settings, want):
  cls = getattr(experiments, name)
  experiment = cls.with_settings(**{'SCAN_LAYERS': False, **settings})()
  got = cuts.of(experiment)
  assert [
      (cut['NUM_LAYERS'], min(cut['MOE_LAYERS'], default=cut['NUM_LAYERS']))
      for cut in got
  ] == want


def test_line_through_two_results():
  small = {'ms': 10.0, 'count': 9, 'kinds': {'a': 4}, 'what': 'tpu'}
  large = {'ms': 16.0, 'count': 17, 'kinds': {'a': 8, 'b': 1}, 'what': 'tpu'}
  # 32 blocks from 4 and 8: seven steps beyond the first.
  assert cuts.extrapolate(small, large, 7) == {
      'ms': 52.0,
      'count': 65,
      'kinds': {'a': 32, 'b': 7},
      'what': 'tpu',
  }


def test_exchanges_of_twelve_blocks_from_four_and_eight(tmp_path):
  settings = {'NUM_LAYERS': 12, 'REMAT': 'none', 'SCAN_LAYERS': False}
  request = REQUEST | {'settings': REQUEST['settings'] | settings}
  got = child.compile_step(request, tmp_path / 'result.json', 300)
  assert got['status'] == 'ok', got
  assert got['extrapolated_from'] == [4, 8]
  # Six layers with experts: there and back, forward and backward, of 16 images
  # with 16 slots of 128 dims in float32.
  exchanged = got['collectives']['all-to-all']
  assert exchanged['count'] == 6 * 4
  assert exchanged['gb'] == pytest.approx(6 * 4 * 16 * 16 * 128 * 4 / 1e9)
