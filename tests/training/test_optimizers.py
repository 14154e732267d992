"""Schedule and optimizer against recorded values and optax."""

import golden_data
import jax
from jax import numpy as jnp
import numpy as np
import optax
from pax_softmoe.training import optimizers
from praxis import base_layer
from praxis import pax_fiddle
from praxis import schedules
import pytest


@pytest.mark.parametrize(
    'name, peak, fields',
    [
        ('jft', 1e-3, dict(total_steps=4_000_000)),
        ('short', 1e-3, dict(total_steps=300_000)),
        (
            'laion',
            1e-3,
            dict(
                total_steps=750_000, warmup_steps=20_000, cooldown_steps=20_000
            ),
        ),
    ],
)
def test_schedule_equals_official_code(name, peak, fields):
  golden = golden_data.load('aux')
  schedule = pax_fiddle.Config(optimizers.RsqrtWithCooldown, **fields)
  schedule = schedule.Instantiate()
  steps = golden[f'lr_{name}_steps']
  got = [peak * schedule.value_at(step) for step in steps]
  # float32 steps: one part in 2^24 of 4 M steps, against a cooldown of 50 k.
  np.testing.assert_allclose(got, golden[f'lr_{name}'], rtol=2e-5, atol=1e-10)


def test_schedule_that_does_not_fit_is_refused():
  with pytest.raises(ValueError, match='do not fit into 100 steps'):
    pax_fiddle.Config(
        optimizers.RsqrtWithCooldown,
        total_steps=100,
        warmup_steps=60,
        cooldown_steps=50,
    ).Instantiate()


VARIABLES = {
    'head': {'kernel': jnp.array([[1.0, -2.0], [0.5, 4.0]])},
    'body': {'wi': jnp.array([3.0, -1.0]), 'bias': jnp.array([0.25, 2.0])},
}
DECAYS = (('head/kernel', 3.0), (r'.*/(kernel|wi)', 0.5))


def transformation(**fields):
  optimizer = pax_fiddle.Config(
      optimizers.AdamW,
      learning_rate=0.1,
      lr_schedule=pax_fiddle.Config(
          schedules.Linear, start=(0, 1.0), limit=(10, 0.0)
      ),
      weight_decays=DECAYS,
      **fields,
  ).Instantiate()
  return optimizer.get_grad_transformation()


def gradients(step):
  return jax.tree_util.tree_map(
      lambda x: jnp.sin(x + step) * 10.0 ** (step - 2), VARIABLES
  )


def run(tx, steps):
  variables, state = VARIABLES, tx.init(VARIABLES)
  for step in range(steps):
    updates, state = tx.update(gradients(step), state, variables)
    variables = optax.apply_updates(variables, updates)
  return variables, state


def test_adamw_equals_optax():
  schedule = lambda step: 0.1 * (1 - step / 10)
  decay = {
      'head': {'kernel': 3.0},
      'body': {'wi': 0.5, 'bias': 0.0},
  }
  add_decay = optax.stateless(
      lambda updates, params: jax.tree_util.tree_map(
          lambda u, d, p: u + d * p, updates, decay, params
      )
  )
  reference = optax.chain(
      optax.scale_by_adam(0.9, 0.999, 1e-8),
      add_decay,
      optax.scale_by_learning_rate(schedule),
  )
  got, _ = run(transformation(), 5)
  want, _ = run(reference, 5)
  jax.tree_util.tree_map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), got, want
  )


def test_first_moment_in_bfloat16_changes_little():
  got, state = run(transformation(first_moment_dtype=jnp.bfloat16), 5)
  want, _ = run(transformation(), 5)
  moments = jax.tree_util.tree_leaves(state[2].m)
  assert {m.dtype for m in moments} == {jnp.dtype(jnp.bfloat16)}
  second = jax.tree_util.tree_leaves(state[2].v)
  assert {v.dtype for v in second} == {jnp.dtype(jnp.float32)}
  jax.tree_util.tree_map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-2), got, want
  )


def weight_hparams():
  return jax.tree_util.tree_map(
      lambda x: base_layer.WeightHParams(
          shape=x.shape,
          dtype=x.dtype,
          mesh_shape=[1, 2],
          tensor_split_dims_mapping=[1] + [-1] * (x.ndim - 1),
      ),
      VARIABLES,
  )


def test_moments_are_split_like_their_variables():
  tx = transformation(first_moment_dtype=jnp.bfloat16)
  specs = tx.init_partition_spec(weight_hparams()).inner_state[2]
  for moment in (specs.m, specs.v):
    assert moment['head']['kernel'].tensor_split_dims_mapping == [1, -1]
    assert moment['body']['wi'].tensor_split_dims_mapping == [1]
  assert specs.m['body']['wi'].dtype == jnp.bfloat16


def test_decay_pattern_that_matches_nothing_is_refused():
  optimizer = pax_fiddle.Config(
      optimizers.AdamW,
      lr_schedule=pax_fiddle.Config(schedules.Constant),
      weight_decays=(('haed/kernel', 3.0),),
  ).Instantiate()
  tx = optimizer.get_grad_transformation()
  with pytest.raises(ValueError, match="pattern 'haed/kernel'"):
    tx.init_partition_spec(weight_hparams())


WEIGHTS = {'w': jnp.array([[1.0, -2.0], [0.5, 4.0]]), 'b': jnp.array([3.0])}


def accumulator(**fields):
  template = pax_fiddle.Config(
      optimizers.AdamW,
      learning_rate=0.1,
      lr_schedule=pax_fiddle.Config(
          schedules.Linear, start=(0, 1.0), limit=(40, 0.0)
      ),
      weight_decays=(('w', 0.5),),
      clip_gradient_norm_to_value=1.0,
  )
  if not fields:
    return template.Instantiate()
  return pax_fiddle.Config(
      optimizers.Accumulator,
      optimizer_tpl=template,
      learning_rate=0.1,
      lr_schedule=template.lr_schedule.clone(),
      **fields,
  ).Instantiate()


def clip(gradients, norm):
  scale = min(1.0, norm / optax.global_norm(gradients))
  return jax.tree_util.tree_map(lambda g: g * scale, gradients)


@pytest.mark.parametrize('size', [0.05, 10.0])  # Below and above the clipping.
@pytest.mark.parametrize('k', [2, 4])
def test_k_accumulated_batches_equal_one_of_k_times_the_size(k, size):
  rng = np.random.RandomState(0)
  draw = lambda: jax.tree_util.tree_map(
      lambda x: jnp.asarray(size * rng.randn(*x.shape), jnp.float32), WEIGHTS
  )
  batches = [[draw() for _ in range(k)] for _ in range(3)]
  tx = accumulator(num_sub_batches=k).get_grad_transformation()
  got, state = WEIGHTS, tx.init(WEIGHTS)
  for batch in batches:
    for gradients in batch:
      before = got
      updates, state = tx.update(gradients, state, got)
      got = optax.apply_updates(got, updates)
      if gradients is not batch[-1]:
        assert all((got[n] == before[n]).all() for n in got)
  # optax on the mean gradients, with the rate of the step of the first batch.
  rate = lambda update: 0.1 * (1 - update * k / 40)
  reference = optax.chain(
      optax.clip_by_global_norm(1.0),
      optax.scale_by_adam(0.9, 0.999, 1e-8),
      optax.add_decayed_weights(0.5, mask={'w': True, 'b': False}),
      optax.scale_by_learning_rate(rate),
  )
  want, state = WEIGHTS, reference.init(WEIGHTS)
  for batch in batches:
    mean = jax.tree_util.tree_map(lambda *g: sum(g) / k, *batch)
    updates, state = reference.update(mean, state, want)
    want = optax.apply_updates(want, updates)
  for name in want:
    np.testing.assert_allclose(got[name], want[name], rtol=1e-5)
