"""From settings to the task that Pax runs."""

from jax import numpy as jnp
from pax_softmoe import experiments
from pax_softmoe.training import optimizers
import pytest


def test_settings_reach_the_task():
  config = experiments.SoftMoEFashionMnist.as_config(
      NUM_EXPERTS=4, LEARNING_RATE=0.5, COMPUTE_DTYPE=jnp.bfloat16
  )
  model = config.task.model
  assert model.vit_tpl.moe_tpl.moe_tpl.num_experts == 4
  assert model.fprop_dtype == jnp.bfloat16
  assert config.task.train.learner.optimizer.learning_rate == 0.5
  # The class itself is as it was.
  assert experiments.SoftMoEFashionMnist.NUM_EXPERTS == 16


def task_of(**settings):
  return experiments.SoftMoEFashionMnist.with_settings(**settings)().task()


def test_intervals_and_guards_reach_the_task():
  train = task_of(
      SAVE_INTERVAL_STEPS=20,
      SAVE_KEEP_EVERY_STEPS=40,
      EVAL_INTERVAL_STEPS=30,
      MAX_SKIPPED_STEPS=7,
      VERIFY_CHECKPOINTS=False,
      NUM_TRAIN_STEPS=1200,
      SEED=5,
  ).train
  assert (train.save_interval_steps, train.keep_every_steps) == (20, 40)
  assert train.eval_interval_steps == 30
  assert train.max_skipped_steps == 7
  assert train.verify_checkpoints is False
  assert (train.num_train_steps, train.random_seed) == (1200, 5)
  # The state in which the data is belongs to a checkpoint.
  assert train.enable_input_checkpointing


def test_accumulated_gradients_wrap_the_optimizer():
  learner = task_of(ACCUMULATE_STEPS=4, EMA_DECAY=0.99).train.learner
  assert learner.optimizer.cls is optimizers.Accumulator
  assert learner.optimizer.num_sub_batches == 4
  assert learner.optimizer.ema_decay == 0.99
  assert learner.optimizer.optimizer_tpl.cls is optimizers.AdamW
  assert task_of().train.learner.optimizer.cls is optimizers.AdamW


def test_pax_asks_for_weights_only_if_there_are_some(tmp_path):
  assert not task_of().train.init_from_checkpoint_rules
  task = task_of(INIT_FROM=str(tmp_path), INIT_HEAD=False)
  assert list(task.train.init_from_checkpoint_rules) == [str(tmp_path)]
  assert (task.init_from, task.init_head) == (str(tmp_path), False)


def test_fewshot_data_is_planned_with_the_models_images():
  plan = task_of(
      FEWSHOT_DATA='fashion_mnist', FEWSHOT_SHOTS=(1, 5), SEED=3
  ).fewshot
  assert [s.name for s in plan.sets] == ['fashion_mnist']
  assert (plan.shots, plan.seed) == ((1, 5), 3)
  assert (plan.image_size, plan.channels) == (28, 1)
  assert task_of().fewshot is None


def test_too_many_shots_name_the_setting():
  with pytest.raises(ValueError, match='FEWSHOT_DATA and FEWSHOT_SHOTS: .*too'):
    task_of(FEWSHOT_DATA='fashion_mnist', FEWSHOT_SHOTS=(5000,))
