"""Weights to start from, of jobs and of files."""

import checkpoint_files
import numpy as np
from pax_softmoe.checkpoints import adapt
from pax_softmoe.checkpoints import lazy_array
from pax_softmoe.checkpoints import reading
from pax_softmoe.checkpoints import warm_start
from pax_softmoe.model_size import counts
import pytest


def find(source, changes=None, **settings):
  shapes = counts.weight_shapes(checkpoint_files.experiment(**settings))
  return warm_start.find(source, shapes, 4, changes or adapt.Changes())


@pytest.mark.parametrize('scan', [True, False])
def test_a_job_gives_stacks_and_single_blocks_alike(tiny_job, scan):
  found = find(tiny_job, SCAN_LAYERS=scan)
  want = lazy_array.split_stacks(reading.open_weights(tiny_job)[1])
  for name, array in found.items():
    if 'blocks_' not in name:
      np.testing.assert_array_equal(array.whole(), want[name].whole())
  name = 'vit/blocks_1/sub/' if scan else 'vit/block_1/'
  got = found[name + 'feed_forward/moe/phi'].whole()
  phi = want['vit/block_1/feed_forward/moe/phi'].whole()
  np.testing.assert_array_equal(got[0] if scan else got, phi)


def test_a_head_may_start_afresh(tiny_job):
  found = find(tiny_job, adapt.Changes(take_head=False), NUM_CLASSES=7)
  assert found['head/kernel'] is found['head/bias'] is None


def test_a_file_of_another_kind_is_refused(tmp_path):
  (tmp_path / 'x.npz').write_bytes(b'no archive')
  with pytest.raises(ValueError, match='no .npz file of arrays'):
    find(tmp_path / 'x.npz')
