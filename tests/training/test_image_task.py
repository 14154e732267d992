"""Where a task's weights start from."""

import checkpoint_files
import jax
import numpy as np
from pax_softmoe import compat
from pax_softmoe.checkpoints import lazy_array
from pax_softmoe.checkpoints import reading
from pax_softmoe.model_size import counts
from pax_softmoe.training import image_task
from paxml import train_states
from praxis import py_utils
import pytest


def task_of(init_from, **settings):
  of = checkpoint_files.experiment(INIT_FROM=init_from, **settings)
  return of.task().Instantiate()


def test_every_experiment_has_such_a_task():
  task = checkpoint_files.experiment().task()
  assert task.cls is image_task.ImageTask
  assert (task.init_from, task.fewshot) == ('', None)


def test_weights_of_a_job_take_the_place_of_those_drawn(tiny_job):
  want = reading.read_weights(tiny_job)[1]
  fresh = jax.tree_util.tree_map(lambda x: jax.numpy.zeros(x.shape), want)
  state = train_states.TrainState(
      step=0, mdl_vars={'params': fresh}, opt_states=[()]
  )
  task = task_of(str(tiny_job))
  got, provenance, again = task.apply_init_checkpoint_rules(state, 'from')
  assert (provenance, again) == ('from', False)
  found = lazy_array.by_name(got.mdl_vars['params'])
  for name, array in lazy_array.by_name(want).items():
    np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_weights_of_another_model_are_refused(tiny_job):
  of = checkpoint_files.experiment(MODEL_DIMS=32)
  weights = jax.tree_util.tree_map(
      lambda w: jax.numpy.zeros(w.full_shape), counts.abstract_weights(of)
  )
  state = train_states.TrainState(
      step=0, mdl_vars={'params': weights}, opt_states=[()]
  )
  with pytest.raises(ValueError, match='set MODEL_DIMS'):
    task_of(str(tiny_job), MODEL_DIMS=32).apply_init_checkpoint_rules(state, '')


def test_a_task_corrects_what_pax_does_to_outputs(monkeypatch):
  def after_1_4_0(x):
    return x.squeeze(0)

  monkeypatch.setattr(py_utils, '_unreplicate', after_1_4_0)
  task_of('')
  assert py_utils._unreplicate is compat._first_shard
