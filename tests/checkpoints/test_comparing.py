"""Which setting is said to differ between a job and its checkpoint."""

from checkpoint_files import experiment
from checkpoint_files import save_job
import jax
from pax_softmoe.checkpoints import comparing
from pax_softmoe.checkpoints import inspecting
from pax_softmoe.checkpoints import managing
from pax_softmoe.checkpoints import structure
from pax_softmoe.tpu import train_step
import pytest


def arrays_of(name='SoftMoEFashionMnist', **settings):
  """Returns what a job saves: shape and dtype of each array by name."""
  settings = {'NUM_LAYERS': 4, **settings}
  step = train_step.TrainStep(experiment(name, **settings), jax.devices()[:1])
  return managing.arrays_of(step.state)


@pytest.fixture(name='saved', scope='module')
def _saved():
  return arrays_of()


@pytest.fixture(name='all_kept', scope='module')
def _all_kept():
  return arrays_of(
      EMA_DECAY=0.9, ACCUMULATE_STEPS=2, FIRST_MOMENT_DTYPE='bfloat16'
  )


def test_the_same_job_goes_on(saved, all_kept):
  comparing.check_state(saved, saved)
  comparing.check_state(all_kept, all_kept)


@pytest.mark.parametrize(
    'settings, message',
    [
        (
            dict(MOE_LAYERS=(1,)),
            (
                'they have experts in blocks (2, 3), the model in (1,); set'
                ' MOE_LAYERS to (2, 3)'
            ),
        ),
        (
            dict(MOE_LAYERS=(2, 3), NUM_LAYERS=5),
            'they have 4 blocks, the model 5; set NUM_LAYERS to 4',
        ),
        (dict(NUM_EXPERTS=8), 'set NUM_EXPERTS to 4'),
        (dict(SLOTS_PER_EXPERT=2), 'set the router and its slots to those of'),
        (
            dict(SCAN_LAYERS=False),
            'another SCAN_LAYERS; set it to True, or start from them with INIT',
        ),
        (dict(QK_NORM=False), 'set QK_NORM to True'),
        (dict(MODEL_DIMS=32), 'set MODEL_DIMS'),
        (dict(PATCH_SIZE=14), 'set PATCH_SIZE or CHANNELS'),
        (
            dict(EMA_DECAY=0.9),
            (
                'the job has a moving average of its weights, it has none; set'
                ' EMA_DECAY back'
            ),
        ),
        (
            dict(ACCUMULATE_STEPS=2),
            (
                'the job has a sum of gradients, it has none; set'
                ' ACCUMULATE_STEPS back'
            ),
        ),
        (
            dict(FIRST_MOMENT_DTYPE='bfloat16'),
            'in it and bfloat16 [10] in the job; set FIRST_MOMENT_DTYPE back',
        ),
    ],
)
def test_a_job_with_another_setting_is_told_which(saved, settings, message):
  with pytest.raises(ValueError) as raised:
    comparing.check_state(saved, arrays_of(**settings))
  assert message in str(raised.value)


@pytest.mark.parametrize(
    'setting', ['EMA_DECAY', 'ACCUMULATE_STEPS', 'FIRST_MOMENT_DTYPE']
)
def test_a_job_without_what_was_kept_is_told_so(all_kept, setting):
  kept = dict(EMA_DECAY=0.9, ACCUMULATE_STEPS=2, FIRST_MOMENT_DTYPE='bfloat16')
  del kept[setting]
  with pytest.raises(ValueError, match=f'set {setting} back'):
    comparing.check_state(all_kept, arrays_of(**kept))


def test_a_dense_model_and_one_with_experts(saved):
  dense = arrays_of('ViTFashionMnist')
  with pytest.raises(ValueError, match='with experts, the model is dense;'):
    comparing.check_state(saved, dense)
  with pytest.raises(ValueError, match='dense, the model is with experts;'):
    comparing.check_state(dense, saved)


def test_another_router(saved):
  other = arrays_of('ExpertsChoiceFashionMnist', NUM_EXPERTS=4)
  with pytest.raises(ValueError, match='set the router and its slots to those'):
    comparing.check_state(saved, other)


def test_evaluation_needs_no_optimizer(saved):
  weights = {n: a for n, a in saved.items() if not n.startswith('opt_states')}
  comparing.check_state(saved, weights)
  some = {n: a for n, a in weights.items() if '.head.' not in n}
  comparing.check_state(saved, some)
  with pytest.raises(ValueError, match='no state of an optimizer; .*INIT_FROM'):
    comparing.check_state(weights, saved)


def test_what_is_on_disk_is_what_the_job_saved(saved, tmp_path):
  save_job(tmp_path, experiment(NUM_LAYERS=4))
  folder = inspecting.folder_of(tmp_path, 7) / 'state'
  found = {
      path.name: structure.array_of(folder.parent, path.name)
      for path in folder.iterdir()
      if path.is_dir()
  }
  assert found == saved
