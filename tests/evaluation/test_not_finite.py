"""Outputs that are not finite are errors, not results."""

import json
import math
import pathlib
import re

import checkpoint_files
from jax import numpy as jnp
import layer_testing
import numpy as np
from pax_softmoe.evaluation import fewshot
from pax_softmoe.evaluation import inference
from pax_softmoe.layers import classification
from pax_softmoe.tools import jobs
from pax_softmoe.tools import json_output
from pax_softmoe.tools import main
from PIL import Image
from praxis import py_utils
import pytest

NestedMap = py_utils.NestedMap


def make_job(folder, **changes):
  checkpoint_files.save_job(folder, checkpoint_files.experiment(), **changes)
  settings = {
      **checkpoint_files.TINY,
      'NUM_EXPERTS': checkpoint_files.EXPERTS,
  }
  jobs.record(folder, checkpoint_files.NAME, settings)
  return str(folder)


@pytest.fixture(name='broken', scope='module')
def _broken(tmp_path_factory):
  """A job with a NaN in the experts and an infinity in the router."""
  return make_job(
      tmp_path_factory.mktemp('broken'),
      wi=lambda x: x.at[..., 0].set(jnp.nan),
      phi=lambda x: x.at[..., 0].set(jnp.inf),
  )


@pytest.fixture(name='picture', scope='module')
def _picture(tmp_path_factory):
  path = tmp_path_factory.mktemp('picture') / 'shoe.png'
  Image.new('L', (28, 28), 99).save(path)
  return str(path)


WEIGHTS = (
    r'nor are 2 of \d+ arrays of weights, such as vit/blocks_1/sub/feed_forward'
    r'/moe/\S+; give an earlier checkpoint as --step\n$'
)


@pytest.mark.parametrize('json_flag', [(), ('--json',)])
@pytest.mark.parametrize(
    'command, told',
    [
        (
            ['evaluate'],
            '2,000 of 2,000 images have outputs in step 7 that are not finite'
            r' \(NaN or infinity\): 0, 1, 2, 3, 4 and 1,995 more; ' + WEIGHTS,
        ),
        (
            ['predict'],
            '1 of 1 images have outputs in step 7 that are not finite'
            r' \(NaN or infinity\): \S+shoe.png; ' + WEIGHTS,
        ),
        (
            ['routing', '--images=2'],
            '2 of 2 images have outputs in step 7 that are not finite'
            r' \(NaN or infinity\): 0, 1; ' + WEIGHTS,
        ),
        (
            ['fewshot', '--shots=1'],
            '10,000 of 10,000 training images of fashion_mnist have features'
            r' that are not finite \(NaN or infinity\): 0, 1, 2, 3, 4 and 9,995'
            ' more; nothing can be learned',
        ),
        (
            ['export', '--output=OUTPUT'],
            r'2 of \d+ arrays of weights hold numbers that are not finite'
            r' \(NaN or infinity\): vit/blocks_1/sub/feed_forward/moe/experts'
            '/wi, vit/blocks_1/sub/feed_forward/moe/phi; give an earlier',
        ),
    ],
)
def test_commands_end_with_what_is_not_finite(
    command, told, json_flag, broken, picture, tmp_path, capsys
):
  name, *flags = command
  flags = [f.replace('OUTPUT', str(tmp_path / 'exported')) for f in flags]
  files = [picture] if name == 'predict' else []
  assert main.main([name, broken, *files, *flags, *json_flag]) == 1
  printed = capsys.readouterr()
  assert not printed.out
  assert not (tmp_path / 'exported').exists()
  last = printed.err.splitlines(keepends=True)[-1]
  assert last.startswith('softmoe: ')
  assert re.search(told, last), last
  assert not list(tmp_path.rglob('*.safetensors'))


def test_only_images_that_are_not_finite_are_named(tmp_path):
  job = make_job(tmp_path)
  classifier = inference.TrainedClassifier(checkpoint_files.experiment(), job)
  images = checkpoint_files.images(4)
  images[2, 0, 0] = np.nan
  with pytest.raises(ValueError) as caught:
    classifier.probabilities(images, ['a', 'b', 'c', 'd'])
  assert str(caught.value) == (
      '1 of 4 images have outputs in step 7 that are not finite (NaN or'
      ' infinity): c; the weights are, so that numbers are too large on their'
      ' way; give an earlier checkpoint as --step'
  )
  assert np.isfinite(classifier.probabilities(images[:2])).all()


class Batches:
  """A Praxis input of given batches."""

  def __init__(self, *batches):
    self._batches = list(batches)

  def get_next(self):
    if not self._batches:
      raise StopIteration
    return self._batches.pop(0)


def batch_of(images, weights):
  labels = np.eye(10, dtype=np.float32)[np.arange(len(images)) % 10]
  return NestedMap(
      image=images,
      labels=labels,
      eval_sample_weights=np.asarray(weights, np.float32),
  )


def test_evaluation_counts_over_all_batches_and_without_what_fills(tmp_path):
  job = make_job(tmp_path)
  classifier = inference.TrainedClassifier(checkpoint_files.experiment(), job)
  good, bad = checkpoint_files.images(4), checkpoint_files.images(4)
  bad[[1, 3]] = np.nan
  with pytest.raises(ValueError, match='^1 of 7 images .*infinity.: 5; '):
    classifier.evaluate(
        Batches(batch_of(good, [1] * 4), batch_of(bad, [1, 1, 1, 0]))
    )
  # The last of a batch only fills it.
  bad[1] = 0
  found = classifier.evaluate(Batches(batch_of(bad, [1, 1, 1, 0])))
  assert found['examples'] == 3 and math.isfinite(found['loss'])


def test_a_loss_that_alone_is_too_large_is_an_error(tmp_path):
  job = make_job(tmp_path)
  classifier = inference.TrainedClassifier(checkpoint_files.experiment(), job)
  head = classifier.weights.head
  head.kernel *= 0
  # Of the range of float32, but their difference is not.
  head.bias = jnp.full([10], -3e38).at[0].set(3e38)
  images = checkpoint_files.images(4)
  assert classifier.probabilities(images)[:, 0].tolist() == [1] * 4
  with pytest.raises(ValueError) as caught:
    classifier.evaluate(Batches(batch_of(images, [1] * 4)))
  assert str(caught.value) == (
      'Step 7: loss is nan, since logits are finite but too large for it; give'
      ' an earlier checkpoint as --step'
  )


@pytest.mark.parametrize('loss', ['softmax', 'sigmoid'])
@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_accuracy_of_logits_that_are_not_finite_is_nan(loss, value):
  logits = jnp.eye(3) * 5
  batch = NestedMap(labels=jnp.eye(3), eval_sample_weights=jnp.ones(3))
  metrics = run_loss(loss, logits, batch)
  assert metrics.accuracy[0] == 1
  # Class 0 is right for the first image; a NaN there would be taken for it.
  broken = logits.at[0, 0].set(value)
  assert np.isnan(run_loss(loss, broken, batch).accuracy[0])
  # What fills a batch changes neither.
  batch.eval_sample_weights = jnp.array([0.0, 1.0, 1.0])
  metrics = run_loss(loss, broken, batch)
  assert metrics.accuracy[0] == 1 and np.isfinite(metrics.loss[0])


def run_loss(loss, logits, batch):
  class Fixed(classification.ImageClassifier):
    """Takes logits for images."""

    def setup(self):
      pass

    def __call__(self, logits):
      return self.compute_loss(NestedMap(logits=logits), batch)[0]

  layer = layer_testing.instantiate(Fixed, num_classes=3, loss=loss)
  return layer_testing.apply(layer, {}, logits)


def features(**changes):
  rng = np.random.default_rng(0)
  x = fewshot.Features(
      train=rng.normal(size=[8, 3]),
      train_labels=np.arange(8) % 2,
      test=rng.normal(size=[4, 3]),
      test_labels=np.arange(4) % 2,
  )
  for name, (row, value) in changes.items():
    getattr(x, name)[row, 1] = value
  return x


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_few_shot_of_features_that_are_not_finite(value):
  fine = features()
  assert fewshot.evaluate({'pets': fine}, [1]).accuracies['pets'][1] >= 0
  with pytest.raises(
      ValueError, match='^1 of 8 training images of pets .*infinity.: 6; '
  ):
    fewshot.evaluate({'fine': fine, 'pets': features(train=(6, value))}, [1])
  with pytest.raises(ValueError, match='^1 of 4 test images of pets .*: 2; '):
    fewshot.evaluate({'pets': features(test=(2, value))}, [1])


def test_json_has_no_nan(capsys):
  json_output.show({'a': [1.5, None, 'nan'], 'b': {'c': True}})
  assert json.loads(capsys.readouterr().out) == {
      'a': [1.5, None, 'nan'],
      'b': {'c': True},
  }
  for value, where in (
      ({'points': [{'mfu': 1.0}, {'mfu': np.float64('nan')}]}, 'points[1].mfu'),
      ({'loss': -np.inf}, 'loss'),
      ([math.inf], '[0]'),
  ):
    with pytest.raises(ValueError) as caught:
      json_output.show(value)
    assert f' as {where}, which no JSON can hold' in str(caught.value)
  assert not capsys.readouterr().out


def test_every_command_prints_json_by_the_one_function():
  folder = pathlib.Path(main.__file__).parent
  for path in folder.glob('*_command.py'):
    assert 'print(json' not in ''.join(path.read_text().split()), path
