"""Trained classifiers read weights, and nothing else, part by part."""

import json
import os
import re
import shutil
import subprocess
import sys

import checkpoint_files
import jax
import layer_testing
import numpy as np
from pax_softmoe.evaluation import inference
import pytest


@pytest.fixture(name='job', scope='module')
def _job(tmp_path_factory):
  """A job whose checkpoint has lost all but its weights, and the weights."""
  folder = tmp_path_factory.mktemp('job')
  weights = checkpoint_files.save_job(folder, checkpoint_files.experiment())
  # Count, and two moments of every weight.
  lost = lose_all_but(folder, r'mdl_vars\.')
  assert lost > 2 * len(jax.tree_util.tree_leaves(weights))
  return folder, weights


def lose_all_but(job, pattern):
  """Deletes files of a checkpoint by their names, and returns how many."""
  (checkpoint,) = (job / 'checkpoints').iterdir()
  lost = [
      path
      for path in (checkpoint / 'state').iterdir()
      if not re.match(pattern, path.name)
  ]
  for path in [*lost, checkpoint / 'metadata']:
    shutil.rmtree(path) if path.is_dir() else path.unlink()
  return len(lost)


def logits_of(weights):
  """Returns the logits that the layers compute of the test images."""
  vit = layer_testing.instantiate(checkpoint_files.experiment().model().vit_tpl)
  features = layer_testing.apply(
      vit, {'params': weights['vit']}, checkpoint_files.images(), do_eval=True
  )
  return features @ weights['head']['kernel'] + weights['head']['bias']


def test_weights_alone_are_enough(job):
  folder, weights = job
  classifier = inference.TrainedClassifier(
      checkpoint_files.experiment(), folder
  )
  assert classifier.which == 'Step 7'
  got = classifier.predictions(checkpoint_files.images())
  assert got.features.shape == (3, 16)
  np.testing.assert_allclose(got.logits, logits_of(weights), rtol=1e-5)


@pytest.mark.parametrize('batches', [1, 2])
def test_moving_average_alone_is_enough_if_there_is_one(batches, tmp_path):
  of = checkpoint_files.experiment(EMA_DECAY=0.9, ACCUMULATE_STEPS=batches)
  weights = checkpoint_files.save_job(tmp_path, of)
  # Weights, too, and what is accumulated.
  lost = lose_all_but(tmp_path, r'opt_states_0_\d+\.ema\.')
  assert lost > (2 + batches) * len(jax.tree_util.tree_leaves(weights))
  # That there is one is said by the checkpoint, not by a setting.
  classifier = inference.TrainedClassifier(
      checkpoint_files.experiment(), tmp_path
  )
  assert classifier.which == 'Step 7, moving average'
  got = classifier.predictions(checkpoint_files.images()).logits
  np.testing.assert_allclose(got, logits_of(weights), rtol=1e-5, atol=1e-6)


def test_each_device_reads_its_part(job):
  folder, weights = job
  environment = os.environ | {
      'JAX_PLATFORMS': 'cpu',
      'XLA_FLAGS': '--xla_force_host_platform_device_count=4',
  }
  done = subprocess.run(
      [sys.executable, checkpoint_files.__file__, folder],
      env=environment,
      capture_output=True,
      text=True,
  )
  assert done.returncode == 0, done.stderr[-2000:]
  got = json.loads(done.stdout.splitlines()[-1])
  # One of the four experts each, of the one layer in the stack.
  assert got['parts'] == [[1, 1, 16, 32]] * 4
  np.testing.assert_allclose(got['logits'], logits_of(weights), rtol=1e-4)


def test_weights_of_another_model_are_refused(job):
  other = checkpoint_files.experiment(NUM_EXPERTS=8)
  with pytest.raises(ValueError, match='4 experts in the weights and 8 in'):
    inference.TrainedClassifier(other, job[0])


def test_a_mesh_of_other_machines_is_left_out(job):
  there = checkpoint_files.experiment(ICI_MESH_SHAPE=(1, 8, 4, 1))
  classifier = inference.TrainedClassifier(there, job[0])
  assert classifier.experiment.mesh_shape() == (1, 1, 1, 1)
