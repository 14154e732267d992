"""Trained models predict image files, and go to programs without us."""

import json

import checkpoint_files
import numpy as np
from pax_softmoe.evaluation import inference
from pax_softmoe.tools import jobs
from pax_softmoe.tools import main
import pytest
from safetensors import numpy as safetensors_numpy


@pytest.fixture(name='exported', scope='module')
def _exported(tiny_job, tmp_path_factory):
  folder = tmp_path_factory.mktemp('exported')
  assert (
      main.main(['export', str(tiny_job), f'--output={folder}', '--json']) == 0
  )
  return folder


def softmax(x):
  e = np.exp(x - x.max(-1, keepdims=True))
  return e / e.sum(-1, keepdims=True)


def test_saved_model_computes_the_same_elsewhere(exported, pixels, logits):
  got = checkpoint_files.serve_elsewhere(exported, pixels)
  np.testing.assert_allclose(got['logits'], logits, rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(got['one'], logits[:1], rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(
      got['probabilities'], softmax(logits), rtol=1e-4, atol=1e-6
  )
  names = json.loads((exported / 'assets/class_names.json').read_text())
  assert len(names) == 10 and names[8] == 'Bag'


def test_safetensors_has_every_weight_by_block(exported, tiny_job):
  got = safetensors_numpy.load_file(exported / 'weights.safetensors')
  classifier = inference.TrainedClassifier(
      checkpoint_files.experiment(), tiny_job
  )
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


@pytest.mark.parametrize('router', ['TokensChoice', 'ExpertsChoice'])
def test_images_that_compete_are_exported_by_group(router, tmp_path):
  settings = {**checkpoint_files.TINY, 'NUM_EXPERTS': 4, 'GROUP_SIZE': 2}
  name = f'{router}FashionMnist'
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
