"""A whole sweep, with a compiler that only pretends."""

from pax_softmoe import experiments
from pax_softmoe.tuning import child
from pax_softmoe.tuning import compiler
from pax_softmoe.tuning import report
from pax_softmoe.tuning import space
from pax_softmoe.tuning import tune
import pytest
from sweep_results import EXCHANGED


def sweep(folder, images):
  return tune.tune(
      experiments.SoftMoEFashionMnist,
      {},
      'v4-8',
      space.Space(
          slice_name='v4-8',
          meshes=((1, 1, 4, 1),),
          presets=('expert_parallel',),
          remats=('full',),
          images_per_chip=(images,),
      ),
      folder,
      seconds=60,
      finalists=1,
      workers=1,
  )


def test_without_a_compiler_for_tpus_the_note_says_so(tmp_path, monkeypatch):
  monkeypatch.setattr(compiler, 'find_target', lambda: 'cpu')
  monkeypatch.setattr(
      child,
      'compile_step',
      lambda *_: {'status': 'ok', 'target': 'cpu', 'collectives': EXCHANGED},
  )
  got = sweep(tmp_path, images=16)
  assert got.note.startswith(report.NO_LIBTPU)
  (point,) = got.points
  assert (point.effort, point.target) == ('low', 'cpu')
  assert point.collectives['all-to-all'].count == 4
  assert point.settings['TRAIN_BATCH_SIZE'] == 64


def test_a_space_without_a_point_that_can_run_is_refused(tmp_path, monkeypatch):
  monkeypatch.setattr(space, 'points', lambda *_: [])
  with pytest.raises(ValueError, match='no point of these can run SoftMoEFash'):
    sweep(tmp_path, images=16)
