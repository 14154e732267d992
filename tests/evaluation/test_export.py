"""Trained models predict image files, and go to programs without us."""

import json

import checkpoint_files
import numpy as np
from pax_softmoe.evaluation import inference
from pax_softmoe.tools import jobs
from pax_softmoe.tools import main
from PIL import Image
import pytest
from safetensors import numpy as safetensors_numpy


@pytest.fixture(name='job', scope='module')
def _job(tmp_path_factory):
  folder = tmp_path_factory.mktemp('job')
  checkpoint_files.save_job(folder, checkpoint_files.experiment())
  settings = {**checkpoint_files.TINY, 'NUM_EXPERTS': 4}
  jobs.record(folder, checkpoint_files.NAME, settings)
  return folder


@pytest.fixture(name='pixels', scope='module')
def _pixels():
  return np.random.RandomState(5).randint(0, 256, [3, 28, 28, 1], np.uint8)


@pytest.fixture(name='want', scope='module')
def _want(job, pixels):
  """The logits of the model in this process."""
  classifier = inference.TrainedClassifier(checkpoint_files.experiment(), job)
  return classifier.predictions(pixels / np.float32(127.5) - 1).logits


@pytest.fixture(name='exported', scope='module')
def _exported(job, tmp_path_factory):
  folder = tmp_path_factory.mktemp('exported')
  assert main.main(['export', str(job), f'--output={folder}', '--json']) == 0
  return folder


def softmax(x):
  e = np.exp(x - x.max(-1, keepdims=True))
  return e / e.sum(-1, keepdims=True)


def test_saved_model_computes_the_same_elsewhere(exported, pixels, want):
  got = checkpoint_files.serve_elsewhere(exported, pixels)
  np.testing.assert_allclose(got['logits'], want, rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(got['one'], want[:1], rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(
      got['probabilities'], softmax(want), rtol=1e-4, atol=1e-6
  )
  names = json.loads((exported / 'assets/class_names.json').read_text())
  assert len(names) == 10 and names[8] == 'Bag'


def test_safetensors_has_every_weight_by_block(exported, job):
  got = safetensors_numpy.load_file(exported / 'weights.safetensors')
  classifier = inference.TrainedClassifier(checkpoint_files.experiment(), job)
  vit = classifier.weights.vit
  np.testing.assert_array_equal(
      got['vit.block_0.attention.wq'], vit.blocks_0.sub.attention.wq[0]
  )
  np.testing.assert_array_equal(
      got['vit.block_1.feed_forward.moe.experts.wi'],
      vit.blocks_1.sub.feed_forward.moe.experts.wi[0],
  )
  assert got['vit.block_1.feed_forward.moe.scale'].shape == ()
  assert got['head.kernel'].shape == (16, 10)
  assert len({name.split('.')[1] for name in got}) == 7


def test_files_are_predicted_with_names(job, pixels, want, tmp_path, capsys):
  paths = [str(tmp_path / f'{i}.png') for i in range(len(pixels))]
  for path, image in zip(paths, pixels):
    Image.fromarray(image[..., 0]).save(path)
  assert main.main(['predict', str(job), *paths, '--top=3', '--json']) == 0
  got = json.loads(capsys.readouterr().out)
  assert got['step'] == 7
  for i, row in enumerate(got['images']):
    assert row['image'] == paths[i]
    best = np.argsort(-want[i])[:3]
    assert [c['class'] for c in row['classes']] == best.tolist()
    np.testing.assert_allclose(
        [c['probability'] for c in row['classes']],
        softmax(want)[i][best],
        rtol=1e-4,
    )
  assert main.main(['predict', str(job), paths[0], '--top=1']) == 0
  name = got['images'][0]['classes'][0]['name']
  assert f'  {name}' in capsys.readouterr().out


def test_photographs_of_other_sizes_are_resized(job, tmp_path, capsys):
  path = str(tmp_path / 'photo.jpg')
  noise = np.random.RandomState(0).randint(0, 256, [50, 80, 3], np.uint8)
  Image.fromarray(noise).save(path)
  assert main.main(['predict', str(job), path, '--json']) == 0
  (row,) = json.loads(capsys.readouterr().out)['images']
  assert sum(c['probability'] for c in row['classes']) <= 1


@pytest.mark.parametrize(
    'text, message',
    [('no image', 'cannot be read as an image: '), (None, 'No such file')],
)
def test_unreadable_files_are_named(text, message, job, tmp_path, capsys):
  path = tmp_path / 'broken.png'
  if text:
    path.write_text(text)
  assert main.main(['predict', str(job), str(path)]) == 1
  (line,) = [
      l for l in capsys.readouterr().err.splitlines() if l.startswith('softmoe')
  ]
  assert f'{path} cannot be read' in line and message in line


def test_nothing_is_overwritten(exported, job, capsys):
  assert main.main(['export', str(job), f'--output={exported}']) == 2
  assert 'is not empty' in capsys.readouterr().err


def test_images_that_compete_are_exported_by_group(tmp_path):
  settings = {**checkpoint_files.TINY, 'NUM_EXPERTS': 4, 'GROUP_SIZE': 2}
  name = 'ExpertsChoiceFashionMnist'
  of = checkpoint_files.experiment(name, **settings)
  checkpoint_files.save_job(tmp_path / 'job', of)
  jobs.record(tmp_path / 'job', name, settings)
  output = tmp_path / 'out'
  command = ['export', str(tmp_path / 'job'), f'--output={output}']
  assert main.main(command) == 0
  import tensorflow as tf

  serve = tf.saved_model.load(output).signatures['serving_default']
  pixels = np.random.RandomState(2).randint(0, 256, [4, 28, 28, 1])
  got = serve(images=tf.constant(pixels, tf.float32))['logits']
  classifier = inference.TrainedClassifier(of, tmp_path / 'job')
  want = classifier.predictions(pixels / np.float32(127.5) - 1).logits
  np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    'arguments, message',
    [
        (
            ['predict', 'JOB', 'a.png', '--top=0'],
            "got '0'; give a whole number",
        ),
        (['fewshot', 'JOB', '--shots=1,x'], "got 'x'; give a whole number"),
        (['fewshot', 'JOB', '--shots=0'], "got '0'; give a whole number"),
    ],
)
def test_bad_usage_is_one_line_and_code_2(arguments, message, job, capsys):
  arguments = [a.replace('JOB', str(job)) for a in arguments]
  assert main.main(arguments) == 2
  (line,) = capsys.readouterr().err.strip().splitlines()
  assert message in line
