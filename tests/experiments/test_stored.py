"""Settings stored for slices: which experiment takes which."""

import jax
from pax_softmoe import experiments
from pax_softmoe.experiments import stored
from pax_softmoe.tpu import hardware
import pytest

TUNED = {
    'ICI_MESH_SHAPE': [1, 1, 4, 1],
    'SHARDING': 'fsdp_dense',
    'SHARDING_OVERRIDES': {'expert_weights.h': ['data']},
    'REMAT': 'exchange',
    'TRAIN_BATCH_SIZE': 128,
    'EVAL_BATCH_SIZE': 128,
    'FIRST_MOMENT_DTYPE': 'bfloat16',
}
Base = experiments.SoftMoEFashionMnist


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
  monkeypatch.setattr(stored, 'FOLDER', tmp_path / 'tuned')
  stored.write('SoftMoEFashionMnist', 'v4-8', {'settings': TUNED})


def test_slice_takes_all_that_is_stored(monkeypatch):
  experiment = Base.with_settings(SLICE='v4-8')()
  monkeypatch.setattr(jax, 'device_count', lambda: 4)
  experiment.validate()
  assert experiment.mesh_shape() == (1, 1, 4, 1)
  assert experiment.sharding_rules().expert_weights['h'] == ('data',)
  assert (experiment.SHARDING, experiment.REMAT) == ('fsdp_dense', 'exchange')
  assert experiment.TRAIN_BATCH_SIZE == experiment.EVAL_BATCH_SIZE == 128
  optimizer = experiment.task().train.learner.optimizer
  assert str(optimizer.first_moment_dtype) == 'bfloat16'
  # The recipe sets 'full', and the class knows nothing of a slice.
  assert Base.REMAT == 'full'


def test_what_is_set_along_with_the_slice_stays():
  experiment = Base.with_settings(SLICE='v4-8', REMAT='full', NUM_EXPERTS=4)
  assert experiment.REMAT == 'full'
  assert experiment.SHARDING == 'fsdp_dense'


def test_what_a_subclass_sets_stays():
  class Mine(Base):
    SLICE = 'v4-8'
    TRAIN_BATCH_SIZE = 256

  class Later(Mine):
    SHARDING = 'replicated'

  assert (Mine.TRAIN_BATCH_SIZE, Mine.EVAL_BATCH_SIZE) == (256, 128)
  assert (Later.TRAIN_BATCH_SIZE, Later.SHARDING) == (256, 'replicated')
  assert Later.with_settings(REMAT='full').REMAT == 'full'


def test_own_entry_comes_before_that_of_a_base():
  stored.write('Mine', 'v4-8', {'settings': {'REMAT': 'products'}})
  mine = type('Mine', (Base,), {'SLICE': 'v4-8'})
  assert (mine.REMAT, mine.SHARDING) == ('products', 'expert_parallel')


@pytest.mark.parametrize(
    'slices, message',
    [
        ('v4-9', "no TPU slice 'v4-9'; use one of v4-8, "),
        ('1xv4-8', 'use v4-8, or 2xv4-8'),
        (
            '2xv4-8',
            (
                'SLICE: no settings are stored for 2xv4-8, only'
                ' for v4-8; `softmoe tune SoftMoEFashionMnist --slice=2xv4-8'
                ' --write` makes them'
            ),
        ),
    ],
)
def test_slice_without_an_entry(slices, message):
  with pytest.raises(ValueError, match=message):
    Base.as_config(SLICE=slices)


def test_entries_of_other_slices_stay():
  stored.write('SoftMoEFashionMnist', '2xv4-8', {'settings': {}})
  assert list(stored.entries('SoftMoEFashionMnist')) == ['v4-8', '2xv4-8']


def test_folder_that_cannot_be_written(tmp_path, monkeypatch):
  # A file in its place: even root cannot make the folder.
  blocked = tmp_path / 'blocked'
  blocked.touch()
  monkeypatch.setattr(stored, 'FOLDER', blocked)
  with pytest.raises(OSError, match='--write needs a checkout'):
    stored.write('SoftMoEFashionMnist', 'v4-8', {})


def test_several_slices():
  assert hardware.parse_slices('4xv4-512') == (4, hardware.SLICES['v4-512'])
  assert hardware.parse_slices('v4-512') == (1, hardware.SLICES['v4-512'])


SHIPPED = [
    (path.stem, slices)
    for path in sorted(stored.FOLDER.glob('*.json'))
    if '_check_' not in path.stem
    for slices in stored.entries(path.stem)
]


@pytest.mark.parametrize('name, slices', SHIPPED)
def test_what_is_shipped_fits_its_slice(name, slices, monkeypatch):
  monkeypatch.undo()
  count, tpu_slice = hardware.parse_slices(slices)
  experiment = getattr(experiments, name).with_settings(SLICE=slices)()
  chips = count * tpu_slice.devices
  monkeypatch.setattr(jax, 'device_count', lambda: chips)
  experiment.validate()
  entry = stored.find(type(experiment), slices)
  assert set(entry['settings']) <= set(stored.SETTINGS)
  assert 0 < entry['estimate']['hbm_gib'] <= tpu_slice.chip.usable_hbm_gib
  assert 0 < entry['estimate']['mfu'] < 1


def test_flagship_is_shipped_for_64_chips():
  assert ('SoftMoEH14', 'v4-128') in SHIPPED
