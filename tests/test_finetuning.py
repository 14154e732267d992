"""Jobs that start from the weights of others, through Pax' own trainer."""

import json
import pathlib
import re

from absl import flags as absl_flags
import checkpoint_files
import jax
from jax.experimental.array_serialization import serialization
import numpy as np
from pax_jobs import as_config
from pax_jobs import run
from pax_jobs import scalars
from pax_softmoe import experiments
from pax_softmoe.checkpoints import adapt
from pax_softmoe.checkpoints import lazy_array
from pax_softmoe.checkpoints import reading
from pax_softmoe.checkpoints import warm_start
from pax_softmoe.data.read import sources
from pax_softmoe.model_size import counts
from pax_softmoe.tools import jobs
from pax_softmoe.tools import main
from paxml import checkpoint_types
from paxml import partitioning
from paxml import tasks_lib
import pytest
import tensorflow as tf
import tensorstore

EMBEDDED = pathlib.Path(sources.__file__).parent / 'fashion_mnist'
FINETUNE = 'SoftMoEFashionMnistFinetune'


@pytest.fixture(name='source', scope='module')
def _source(tmp_path_factory):
  """A job at 28 pixels, 4 x 4 patches, and its weights."""
  folder = tmp_path_factory.mktemp('source')
  return folder, checkpoint_files.save_job(
      folder, checkpoint_files.experiment()
  )


@pytest.fixture(name='photographs', scope='module')
def _photographs(tmp_path_factory):
  """A folder with a few of the embedded images."""
  folder = tmp_path_factory.mktemp('photographs')
  for split, count in (('train', 400), ('test', 200)):
    file, *_ = sorted(EMBEDDED.glob(f'{split}-*.tfrecord*'))
    with tf.io.TFRecordWriter(str(folder / f'{split}-0.tfrecord')) as writer:
      for record in tf.data.TFRecordDataset(str(file)).take(count):
        writer.write(record.numpy())
  return folder


@pytest.fixture(name='job', scope='module')
def _job(source, photographs, tmp_path_factory):
  """A job that went on from it at 56 pixels, its blocks not scanned."""
  folder = tmp_path_factory.mktemp('finetuned')
  settings = {
      **checkpoint_files.TINY,
      'NUM_EXPERTS': 4,
      'SCAN_LAYERS': False,
      'NUM_TRAIN_STEPS': 4,
      'WARMUP_STEPS': 2,
      'TRAIN_BATCH_SIZE': 16,
      'EVAL_INTERVAL_STEPS': 2,
      'SAVE_INTERVAL_STEPS': 2,
      'FEWSHOT_DATA': (f'photos={photographs}',),
      'FEWSHOT_SHOTS': (1, 5),
      'EMA_DECAY': 0.9,
  }
  flag = as_config(FINETUNE, INIT_FROM=str(source[0]), **settings)
  run('paxml.main', flag, f'--job_log_dir={folder}', '--eval_on_test')
  jobs.record(folder, FINETUNE, settings)
  return folder


def interpolated(table, new):
  """Returns positions [n², D] as [new², D]: one axis after the other, linear."""
  old = int(len(table) ** 0.5)
  grid = table.reshape(old, old, -1)
  places = np.linspace(0, old - 1, new)

  def along(axis, x):
    line = lambda y: np.interp(places, np.arange(old), y)
    return np.apply_along_axis(line, axis, x)

  return along(1, along(0, grid)).reshape(new * new, -1)


def saved(job, step, prefix):
  """Returns the arrays of a checkpoint whose names begin so, by the rest."""
  folder = job / f'checkpoints/checkpoint_{step:08d}/state'
  return {
      path.name.removeprefix(prefix): (
          tensorstore.open(
              serialization.get_tensorstore_spec(str(path)), open=True
          )
          .result()
          .read()
          .result()
      )
      for path in folder.glob(f'{prefix}*')
  }


def test_moving_average_starts_from_the_other_jobs_weights_too(job):
  weights = saved(job, 0, 'mdl_vars.')
  averages = saved(job, 0, 'opt_states_0_4.ema.')
  assert weights.keys() == averages.keys()
  for name in weights:
    np.testing.assert_array_equal(weights[name], averages[name], err_msg=name)
  weights, averages = (
      saved(job, 4, prefix) for prefix in ('mdl_vars.', 'opt_states_0_4.ema.')
  )
  head = 'params.head.kernel'
  assert np.abs(weights[head] - averages[head]).max() > 1e-6
  # The average is what is read.
  got = reading.read_weights(job, 4)[1].head.kernel
  np.testing.assert_array_equal(got, averages[head])


def test_training_starts_from_the_other_jobs_weights(job, source):
  start = reading.read_weights(job, 0)[1]
  old = source[1]
  np.testing.assert_allclose(
      start.vit.positions, interpolated(old['vit']['positions'], 8), atol=1e-6
  )
  # The head is fresh, though it would fit.
  assert not start.head.kernel.any()
  # All else is as it was; blocks are no stacks now.
  moe = start.vit.block_1.feed_forward.moe
  before = old['vit']['blocks_1']['sub']['feed_forward']['moe']
  np.testing.assert_array_equal(moe.phi, before['phi'][0])
  np.testing.assert_array_equal(moe.experts.wo, before['experts']['wo'][0])
  np.testing.assert_array_equal(
      start.vit.block_0.attention.wk,
      old['vit']['blocks_0']['sub']['attention']['wk'][0],
  )
  trained = reading.read_weights(job, 4)[1]
  assert np.abs(trained.head.kernel).max() > 0


def test_fewshot_during_training_equals_the_command(job, photographs, capsys):
  found = {
      name: scalars(job / 'summaries/fewshot', name)
      for name in ('photos/1shot', 'photos/5shot', '5shot_penalty')
  }
  assert set(found['5shot_penalty']) == {2, 4}
  command = ['fewshot', str(job), f'--data=photos={photographs}', '--step=2']
  assert main.main([*command, '--shots=1,5', '--json']) == 0
  got = json.loads(capsys.readouterr().out)
  assert got['step'] == 2
  for k in (1, 5):
    accuracy = got['accuracy']['photos'][str(k)]
    # An image or two of 200 may be a tie.
    want = found[f'photos/{k}shot'][2]
    assert accuracy == pytest.approx(want, abs=0.011)
    assert 0.15 < accuracy < 1


def find(source, changes=None, name=FINETUNE, **settings):
  of = checkpoint_files.experiment(name, **{'NUM_EXPERTS': 4, **settings})
  wanted = counts.weight_shapes(of)
  grid = of.IMAGE_SIZE // of.PATCH_SIZE
  changes = changes or adapt.Changes(take_head=of.INIT_HEAD)
  return warm_start.find(source[0], wanted, grid, changes)


def test_slots_stay_while_tokens_grow(source):
  found = find(source)
  assert found['vit/positions'].shape == (64, 16)
  assert found['vit/blocks_1/sub/feed_forward/moe/phi'].shape == (1, 16, 4, 1)
  assert found['head/kernel'] is None


@pytest.mark.parametrize(
    'settings, message',
    [
        (
            dict(NUM_EXPERTS=8),
            (
                r'phi.* is \(16, 4, 1\), the model needs \(16, 8, 1\) .*|'
                r'experts.* is \(4, .*needs \(8, .*set NUM_EXPERTS to that of'
                ' the weights, or make other experts of a dense model by'
                ' upcycling'
            ),
        ),
        (dict(SLOTS_PER_EXPERT=2), 'set SLOTS_PER_EXPERT'),
        (dict(HIDDEN_DIMS=64), 'set HIDDEN_DIMS'),
        (dict(MODEL_DIMS=32), 'set MODEL_DIMS'),
        (dict(NUM_HEADS=4), 'set NUM_HEADS'),
        (dict(PATCH_SIZE=14), 'set PATCH_SIZE or CHANNELS'),
        (dict(NUM_LAYERS=3), 'has 2 blocks, the model 3; set NUM_LAYERS to 2'),
        (dict(MOE_LAYERS=(0, 1)), 'an MLP in vit/block_0/feed_forward'),
        (dict(MOE_LAYERS=(0,)), 'an MLP in|experts in vit/block_1; set MOE_L'),
        (dict(QK_NORM=False), r'has QK-norm .*; set QK_NORM to True'),
        (
            dict(NUM_CLASSES=7, INIT_HEAD=True),
            r'head/bias is \(10,\).*needs \(7,\).*INIT_HEAD=False',
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused(settings, message, source):
  with pytest.raises(ValueError, match=message):
    find(source, **settings)


def test_missing_folder_is_named(tmp_path):
  with pytest.raises(ValueError, match='holds no finished checkpoint'):
    find((tmp_path, None))


def test_warmup_longer_than_training_is_refused(capsys):
  with pytest.raises(ValueError, match='WARMUP_STEPS is 500 and NUM_TRAIN_STE'):
    experiments.SoftMoES16ImageNet.as_config(NUM_TRAIN_STEPS=100)


def test_pax_own_rules_read_what_import_writes(source, tmp_path):
  output = tmp_path / 'imported'
  settings = {**checkpoint_files.TINY, 'NUM_EXPERTS': 4}
  flags = [f'--set={k}={v}' for k, v in settings.items()]
  command = ['import', source[0], f'--experiment={checkpoint_files.NAME}']
  assert (
      main.main([str(w) for w in [*command, *flags, f'--output={output}']]) == 0
  )
  of = checkpoint_files.experiment()
  task = of.task()
  specs = of.get_input_specs_provider_params()
  rules = tasks_lib.CheckpointLoadingRules(
      task_p=of.task(),
      load_rules=[(r'params/vit/(.*)', 'params/vit/{}')],
      safe_load=True,
      input_specs_provider_p=specs,
  )
  task.train.init_from_checkpoint_rules = {str(output / 'checkpoints'): rules}
  task = task.Instantiate()
  # Pax reads flags that its own main defines.
  absl_flags.FLAGS.mark_as_parsed()
  partitioner = partitioning.create_partitioner(task)
  key = jax.random.PRNGKey(0)
  partitioner.setup(task, key, specs.Instantiate().get_input_specs())
  _, state, _ = partitioner.initialize_prng_key_and_train_state(
      key, None, checkpoint_types.CheckpointType.GDA
  )
  got = lazy_array.by_name(state.mdl_vars['params']['vit'])
  want = lazy_array.by_name(source[1]['vit'])
  assert got.keys() == want.keys()
  for name in want:
    np.testing.assert_array_equal(got[name], want[name], err_msg=name)


def test_nothing_is_trained_in_a_folder_of_imported_weights(
    source, tmp_path, capsys
):
  record = {
      'experiment': checkpoint_files.NAME,
      'settings': {},
      'imported_from': 'x.npz',
  }
  (tmp_path / 'softmoe.json').write_text(json.dumps(record))
  command = ['train', checkpoint_files.NAME, f'--job_dir={tmp_path}']
  assert main.main(command) == 2
  assert re.search(
      'holds imported weights; .* INIT_FROM', capsys.readouterr().err
  )
