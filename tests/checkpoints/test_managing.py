"""What is said of damaged checkpoints, by readers of weights and by Pax."""

import io
import json
import pathlib
import shutil
import zipfile

from checkpoint_files import experiment
from checkpoint_files import save_job
import jax
import numpy as np
from pax_softmoe.checkpoints import checksums
from pax_softmoe.checkpoints import inspecting
from pax_softmoe.checkpoints import managing
from pax_softmoe.checkpoints import reading
from pax_softmoe.tpu import train_step
from paxml import checkpoint_types
from paxml import checkpoints
import pytest

GDA = checkpoint_types.CheckpointType.GDA
EXPERTS = 'mdl_vars.params.vit.blocks_1.sub.feed_forward.moe.experts.wi'
HEAD = 'mdl_vars.params.head.kernel'
MOMENT = 'opt_states_0_2.v.params.head.bias'
SETTINGS = dict(EMA_DECAY=0.5)


def add_input_state(folder):
  """Puts the place in the data into a checkpoint, as the last thing written."""
  state = io.BytesIO()
  with zipfile.ZipFile(state, 'w') as archive:
    archive.writestr('settings.json', '{}')
    archive.writestr('iterator', bytes(range(200)))
  (folder / 'train_input').mkdir()
  (folder / 'train_input/process_0-of-1').write_bytes(state.getvalue())
  (folder / checksums.NAME).unlink()
  checksums.complete(folder)


@pytest.fixture(name='saved', scope='module')
def _saved(tmp_path_factory):
  """A job with checkpoints of steps 7 and 9, whose weights are averaged."""
  job = tmp_path_factory.mktemp('saved') / 'job'
  for step in (7, 9):
    save_job(job, experiment(**SETTINGS), step=step, seed=step)
    add_input_state(inspecting.folder_of(job, step))
  return job


@pytest.fixture(name='steps', scope='module')
def _steps():
  """Returns a function from settings to Pax' step, made once for each."""
  made = {}

  def make(**settings):
    key = repr(settings)
    if key not in made:
      made[key] = train_step.TrainStep(
          experiment(**settings), jax.devices()[:1]
      )
    return made[key]

  return make


@pytest.fixture(name='job', params=['checksums', 'none'])
def _job(request, saved, tmp_path):
  """A copy, with checksums and without."""
  job = pathlib.Path(shutil.copytree(saved, tmp_path / 'job'))
  if request.param == 'none':
    for path in job.glob('checkpoints/*/checksums.json'):
      path.unlink()
  return job


def newest(job):
  return job / 'checkpoints/checkpoint_00000009'


AFRESH = (
    '; or to start the data afresh set'
    ' --fdl=set:task.train.enable_input_checkpointing=False'
)


def restore(job, step, train_input=None):
  """Restores the newest checkpoint as Pax does when a job goes on."""
  with step.mesh:
    manager = managing.CheckedCheckpointManager(
        job / 'checkpoints',
        checkpoints.get_checkpointer(GDA),
        checkpoint_type=GDA,
        tensorstore_use_ocdbt=False,
    )
    return manager.restore(
        manager.latest_step(),
        step.state,
        step.state,
        train_input,
        restore_kwargs={'specs': step._state_split, 'mesh': step.mesh},
    )


def flip(path, at=-3):
  content = bytearray(path.read_bytes())
  content[at] ^= 1
  path.write_bytes(bytes(content))


def cut(path):
  content = path.read_bytes()
  path.write_bytes(content[: len(content) // 2])


def reshape(path):
  spec = json.loads(path.read_text())
  spec['shape'] = spec['shape'][::-1]
  spec['chunks'] = spec['chunks'][::-1]
  path.write_text(json.dumps(spec))


def make_file(folder):
  shutil.rmtree(folder)
  folder.write_text('')


def make_empty(folder):
  shutil.rmtree(folder)
  folder.mkdir()


# What is done to which file, and whether the file can tell without checksums.
DAMAGE = {
    'experts missing': (f'state/{EXPERTS}/0.0.0.0', pathlib.Path.unlink, True),
    'head missing': (f'state/{HEAD}/0.0', pathlib.Path.unlink, True),
    'moment missing': (f'state/{MOMENT}/0', pathlib.Path.unlink, True),
    'average missing': (
        'state/opt_states_0_4.ema.params.head.kernel/0.0',
        pathlib.Path.unlink,
        True,
    ),
    'experts flipped': (f'state/{EXPERTS}/0.0.0.0', flip, False),
    'moment flipped': (f'state/{MOMENT}/0', flip, False),
    'array gone': (f'state/{HEAD}', shutil.rmtree, True),
    'no .zarray': (f'state/{HEAD}/.zarray', pathlib.Path.unlink, True),
    '.zarray cut': (f'state/{MOMENT}/.zarray', cut, True),
    'other shape': (f'state/{HEAD}/.zarray', reshape, True),
    'metadata gone': ('metadata/metadata', pathlib.Path.unlink, True),
    'metadata folder gone': ('metadata', shutil.rmtree, True),
    'metadata cut': ('metadata/metadata', cut, True),
    'metadata flipped': (
        'metadata/metadata',
        lambda path: flip(path, path.read_bytes().index(b'float32')),
        False,
    ),
    'input state gone': ('train_input', shutil.rmtree, False),
    'input state cut': ('train_input/process_0-of-1', cut, True),
    'input state flipped': (
        'train_input/process_0-of-1',
        lambda path: flip(path, 100),
        True,
    ),
    'empty folder': ('', make_empty, True),
    'a file': ('', make_file, True),
}


def snapshot(folder):
  return {p: p.read_bytes() for p in folder.rglob('*') if p.is_file()}


def check_message(error, job, name):
  message = str(error)
  folder = newest(job)
  assert '\n' not in message
  assert message.startswith(f'{folder}/{name}' if name else f'{folder}: it is')
  assert message.removesuffix(AFRESH).endswith(
      f'; remove the folder {folder} to go on from step 7'
  )


@pytest.mark.parametrize('kind', DAMAGE)
def test_a_job_does_not_go_on_from_a_damaged_checkpoint(job, steps, kind):
  name, damage, is_seen = DAMAGE[kind]
  if not (is_seen or (newest(job) / checksums.NAME).exists()):
    pytest.skip('only checksums tell')
  damage(newest(job) / name)
  before = snapshot(job)
  reads = object() if kind.startswith('input') else None
  with pytest.raises(inspecting.DamageError) as raised:
    restore(job, steps(**SETTINGS), train_input=reads)
  check_message(raised.value, job, name)
  assert (AFRESH in str(raised.value)) == bool(reads)
  assert snapshot(job) == before


@pytest.mark.parametrize('kind', [k for k in DAMAGE if k.startswith('input')])
def test_a_job_that_begins_its_data_afresh_needs_no_input_state(
    job, steps, kind
):
  name, damage, _ = DAMAGE[kind]
  damage(newest(job) / name)
  assert int(restore(job, steps(**SETTINGS)).step) == 9


def test_a_whole_checkpoint_is_restored(job, steps):
  state = restore(job, steps(**SETTINGS))
  assert int(state.step) == 9
  # As `save_job` draws them.
  average = state.opt_states[0][4]['ema']['params']['head']['kernel']
  got = reading.read_weights(job)[1].head.kernel
  np.testing.assert_array_equal(np.asarray(average), got)
  assert got.std() == pytest.approx(0.3, rel=0.2)


def test_input_state_that_the_checkpoint_never_had(job, steps):
  """Without checksums only the job knows that there should be one."""
  shutil.rmtree(newest(job) / 'train_input')
  with pytest.raises(inspecting.DamageError) as raised:
    restore(job, steps(**SETTINGS), train_input=object())
  message = str(raised.value)
  assert f'{newest(job)}/train_input' in message
  assert 'to go on from step 7' in message


def test_input_state_of_other_processes(job, steps):
  folder = newest(job) / 'train_input'
  for i in range(2):
    shutil.copy(folder / 'process_0-of-1', folder / f'process_{i}-of-2')
  (folder / 'process_0-of-1').unlink()
  (newest(job) / checksums.NAME).unlink(missing_ok=True)
  checksums.complete(newest(job))
  message = r'\(process_0-of-2, process_1-of-2\), and this job has 1; give'
  with pytest.raises(ValueError, match=message):
    restore(job, steps(**SETTINGS), train_input=object())


@pytest.mark.parametrize('kind', ['experts missing', 'metadata gone'])
def test_all_newer_folders_that_are_damaged_are_to_be_removed(job, steps, kind):
  save_job(job, experiment(**SETTINGS), step=11)
  name, damage, _ = DAMAGE[kind]
  last = job / 'checkpoints/checkpoint_00000011'
  damage(newest(job) / name)
  damage(last / name)
  with pytest.raises(inspecting.DamageError) as raised:
    restore(job, steps(**SETTINGS))
  assert str(raised.value).endswith(
      f'; remove the folders {newest(job)} and {last} to go on from step 7'
  )


def test_without_a_whole_one_it_is_to_start_afresh(job, steps):
  for step in (7, 9):
    (inspecting.folder_of(job, step) / f'state/{HEAD}/0.0').unlink()
  with pytest.raises(inspecting.DamageError, match='start afresh in another'):
    restore(job, steps(**SETTINGS))


def test_metadata_of_an_older_checkpoint_are_needed_too(job, steps):
  """Pax reads those of any one, and takes none for those of an old version."""
  folder = inspecting.folder_of(job, 7)
  shutil.rmtree(folder / 'metadata')
  with pytest.raises(inspecting.DamageError) as raised:
    restore(job, steps(**SETTINGS))
  assert str(raised.value) == (
      f'{folder}/metadata/metadata is missing; remove the folder {folder} to'
      ' go on from step 9'
  )


def test_two_damaged_files_are_counted(saved, steps, tmp_path):
  job = pathlib.Path(shutil.copytree(saved, tmp_path / 'job'))
  flip(newest(job) / f'state/{MOMENT}/0')
  flip(newest(job) / f'state/{EXPERTS}/0.0.0.0')
  with pytest.raises(inspecting.DamageError) as raised:
    restore(job, steps(**SETTINGS))
  assert f'(and 1 more file: see `softmoe verify {job}`)' in str(raised.value)


def test_checksums_that_are_cut_are_damage(saved, steps, tmp_path):
  job = pathlib.Path(shutil.copytree(saved, tmp_path / 'job'))
  cut(newest(job) / checksums.NAME)
  with pytest.raises(inspecting.DamageError) as raised:
    restore(job, steps(**SETTINGS))
  check_message(raised.value, job, 'checksums.json is damaged')
  with pytest.raises(inspecting.DamageError) as raised:
    reading.read_weights(job)
  check_message(raised.value, job, 'checksums.json is damaged')


AVERAGE = 'opt_states_0_4.ema.params.vit.norm.scale'


@pytest.mark.parametrize(
    'name, damage, is_seen',
    [
        (f'state/{AVERAGE}/0', pathlib.Path.unlink, True),
        (f'state/{AVERAGE}/0', flip, False),
        (f'state/{AVERAGE}/0', cut, False),
        (f'state/{AVERAGE}/.zarray', pathlib.Path.unlink, True),
        (f'state/{AVERAGE}/.zarray', cut, False),
        (f'state/{AVERAGE}', shutil.rmtree, True),
        ('state', shutil.rmtree, True),
        ('', make_empty, True),
        ('', make_file, True),
    ],
)
def test_readers_of_weights_refuse_what_is_damaged(job, name, damage, is_seen):
  damage(newest(job) / name)
  if not (is_seen or (newest(job) / checksums.NAME).exists()):
    if damage is flip:
      pytest.skip('only checksums tell')
    name = name.removesuffix('/0')
  with pytest.raises(inspecting.DamageError) as raised:
    reading.read_weights(job)
  check_message(raised.value, job, name)


def test_weights_of_single_blocks_are_read_too(tmp_path):
  """Some of their arrays are scalars."""
  want = save_job(tmp_path, experiment(SCAN_LAYERS=False))
  got = reading.read_weights(tmp_path)[1]
  assert got.vit.block_1.feed_forward.moe.scale.shape == ()
  pairs = zip(jax.tree_util.tree_leaves(got), jax.tree_util.tree_leaves(want))
  for a, b in pairs:
    np.testing.assert_array_equal(a, b)


def test_readers_of_weights_do_not_read_moments(job):
  (newest(job) / f'state/{MOMENT}/0').unlink()
  assert reading.read_weights(job)[0] == 9


def test_each_device_checks_only_what_it_reads(saved, tmp_path):
  """A part that was not asked for may be missing."""
  job = pathlib.Path(shutil.copytree(saved, tmp_path / 'job'))
  arrays = reading.open_weights(job)[1]
  (newest(job) / f'state/{AVERAGE}/0').unlink()
  assert arrays.head.kernel.read((slice(2, 4), slice(None))).shape == (2, 10)
  with pytest.raises(inspecting.DamageError, match=AVERAGE):
    arrays.vit.norm.scale.whole()
