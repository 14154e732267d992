"""The optimizer and the learning-rate schedule of the paper."""

from collections.abc import Sequence
import dataclasses
import re
from typing import Any

import jax
from jax import numpy as jnp
import optax
from paxml import learners
from praxis import base_layer
from praxis import optimizers
from praxis import py_utils
from praxis import pytypes
from praxis import schedules

JTensor = pytypes.JTensor
NestedMap = py_utils.NestedMap


class RsqrtWithCooldown(schedules.BaseSchedule):
  """Linear warm-up, reciprocal square root decay, linear cool-down to zero.

  With t the step, W `warmup_steps`, C `cooldown_steps`, T `total_steps` and tau
  `timescale`, all in steps (paper, appendix F; big_vision's "rsqrt"):

      t / W                                     for t < W
      1 / sqrt(1 + (t - W) / tau)               for W <= t < T - C
      value at T - C, times (T - t) / C         for T - C <= t

  The value is a factor of the optimizer's `learning_rate`, the peak.
  """

  warmup_steps: int = 10_000
  cooldown_steps: int = 50_000
  total_steps: int = 0
  timescale: int = 10_000

  def __post_init__(self):
    super().__post_init__()
    if self.warmup_steps + self.cooldown_steps > self.total_steps:
      raise ValueError(
          f'RsqrtWithCooldown: {self.warmup_steps} steps of warm-up and'
          f' {self.cooldown_steps} of cool-down do not fit into'
          f' {self.total_steps} steps; lower WARMUP_STEPS and COOLDOWN_STEPS,'
          ' or raise NUM_TRAIN_STEPS'
      )

  def value_at(self, step: JTensor) -> JTensor:
    """Returns the factor, float32 [], at a step counted from 0."""
    step = jnp.asarray(step, jnp.float32)
    decay_end = self.total_steps - self.cooldown_steps
    decayed = jnp.clip(step, self.warmup_steps, decay_end) - self.warmup_steps
    value = jax.lax.rsqrt(1 + decayed / self.timescale)
    if self.warmup_steps:
      value *= jnp.minimum(step / self.warmup_steps, 1)
    if self.cooldown_steps:
      left = (self.total_steps - step) / self.cooldown_steps
      value *= jnp.clip(left, 0, 1)
    return value


class AdamW(optimizers.BaseOptimizer):
  """Adam with decoupled weight decay chosen by variable name.

      m <- b1 m + (1 - b1) g;   v <- b2 v + (1 - b2) g^2
      x <- x - lr (m_hat / (sqrt(v_hat) + eps) + decay x)

  The decay is multiplied by the scheduled learning rate, as in the official
  recipes. Both moments are split over the mesh like their variable.

  Attributes:
    beta1: decay of the first moment.
    beta2: decay of the second moment.
    epsilon: added to the root of the second moment.
    first_moment_dtype: dtype in which `m` is stored; None for that of the
      variable.
    weight_decays: pairs of a regular expression and a decay; the first whose
      expression matches the whole name ('vit/blocks_0/sub/attention/wq')
      counts, and variables without a match have none.
  """

  beta1: float = 0.9
  beta2: float = 0.999
  epsilon: float = 1e-8
  first_moment_dtype: jnp.dtype | None = None
  weight_decays: Sequence[tuple[str, float]] = ()

  def decay_of(self, name: str) -> float:
    """Returns the weight decay of the variable of that name."""
    for pattern, decay in self.weight_decays:
      if re.fullmatch(pattern, name):
        return decay
    return 0.0

  def _get_raw_grad_transformation(
      self, lr: optax.Schedule
  ) -> optimizers.ShardedGradientTransformation:
    def init(variables):
      return NestedMap(
          count=jnp.zeros([], jnp.int32),
          m=jax.tree_util.tree_map(
              lambda x: jnp.zeros_like(x, self.first_moment_dtype), variables
          ),
          v=jax.tree_util.tree_map(jnp.zeros_like, variables),
      )

    def init_partition_spec(variables):
      self._check_patterns(variables)

      def moment(dtype):
        return jax.tree_util.tree_map(
            lambda x: dataclasses.replace(x, init=None, dtype=dtype or x.dtype),
            variables,
        )

      count = base_layer.WeightHParams(shape=[], dtype=jnp.int32)
      return NestedMap(
          count=count, m=moment(self.first_moment_dtype), v=moment(None)
      )

    def update(gradients, state, variables):
      count = state.count + 1
      rate = lr(state.count)
      m_correction = 1 / (1 - self.beta1**count)
      v_correction = 1 / (1 - self.beta2**count)

      def first_moment(g, m):
        return self.beta1 * m.astype(g.dtype) + (1 - self.beta1) * g

      def second_moment(g, v):
        return self.beta2 * v + (1 - self.beta2) * jnp.square(g)

      def step(name, m, v, x):
        root = jnp.sqrt(v * v_correction) + self.epsilon
        return -rate * (m * m_correction / root + self.decay_of(name) * x)

      tree_map = jax.tree_util.tree_map
      m = tree_map(first_moment, gradients, state.m)
      v = tree_map(second_moment, gradients, state.v)
      updates = tree_map(step, _names(variables), m, v, variables)
      stored = tree_map(
          lambda m: m.astype(self.first_moment_dtype or m.dtype), m
      )
      return updates, NestedMap(count=count, m=stored, v=v)

    return optimizers.ShardedGradientTransformation(
        init=init, update=update, init_partition_spec=init_partition_spec
    )

  def _check_patterns(self, variables: base_layer.NestedWeightHParams) -> None:
    names = jax.tree_util.tree_leaves(_names(variables))
    for pattern, _ in self.weight_decays:
      if not any(re.fullmatch(pattern, name) for name in names):
        raise ValueError(
            f'AdamW: no variable matches the weight decay pattern {pattern!r};'
            f' correct or remove it. Names are like {names[0]}'
        )


class Accumulator(optimizers.ShardedStaticAccumulator):
  """Updates with the mean gradient of `num_sub_batches` batches.

  It does what one batch of all their images does: Praxis' accumulator clips the
  gradient of each batch, this one clips their mean, at the norm of
  `optimizer_tpl`. A step is that of a batch, for the schedule too.
  """

  def _get_raw_grad_transformation(
      self, lr: optax.Schedule
  ) -> optimizers.ShardedGradientTransformation:
    base = self.base_optimizer
    inner = base._get_raw_grad_transformation(
        lambda updates: lr(updates * self.num_sub_batches)
    )

    def update(gradients, state, variables):
      if base.clip_gradient_norm_to_value:
        norm = optax.global_norm(gradients)
        scale = jnp.minimum(1, base.clip_gradient_norm_to_value / norm)
        gradients = jax.tree_util.tree_map(lambda g: g * scale, gradients)
      return inner.update(gradients, state, variables)

    clipped = optimizers.ShardedGradientTransformation(
        init=inner.init,
        update=update,
        init_partition_spec=inner.init_partition_spec,
    )
    return optimizers.sharded_static_accumulation(
        self.num_sub_batches, clipped, self.accumulation_use_cond_op
    )


class Learner(learners.Learner):
  """Pax' learner, with the norm of the raw gradients as its only norm.

  Pax also offers the norms of clipped gradients and of updates. For those XLA
  writes all updates to memory and reads them again: by the compiler's estimate
  a seventh of the optimizer's time on TPU.
  """

  grad_norm_summary: bool = False

  def get_grad_tx(
      self, var_weight_hparams: base_layer.NestedWeightHParams
  ) -> optimizers.GeneralGradientTransformation:
    """Returns the optimizer, its state split over the mesh like its variables.

    Of the stacked arrays of scanned blocks, Praxis' moving average and its
    accumulator forget the axis of layers: each other axis would be split as the
    one after it is, and Pax could not restore the average to evaluate it.

    Args:
      var_weight_hparams: of all variables.
    """
    tx = super().get_grad_tx(var_weight_hparams)
    if self.vectorize_on_repeat_prefix:
      return tx
    return dataclasses.replace(
        tx,
        init_partition_spec=lambda variables: tx.init_partition_spec(
            jax.tree_util.tree_map(_with_layers, variables)
        ),
    )

  def scale_gradients(
      self, raw_grads: NestedMap, *args: Any, **kwargs: Any
  ) -> tuple[NestedMap, JTensor]:
    """Clips gradients, see `learners.Learner`."""
    base_layer.add_global_summary(
        'learning/raw_grad_norm',
        optax.global_norm(raw_grads),
        base_layer.SummaryType.AGGREGATE_SCALAR,
    )
    return super().scale_gradients(raw_grads, *args, **kwargs)


def _with_layers(w: base_layer.WeightHParams) -> base_layer.WeightHParams:
  """Returns a variable with the axis of scanned layers as its first axis."""
  return dataclasses.replace(
      w,
      shape=w.full_shape,
      tensor_split_dims_mapping=w.full_split_dims_mapping,
      repeat_prefix=None,
      repeat_prefix_split_dims_mapping=None,
  )


def _names(variables: Any) -> Any:
  """Returns the tree with each variable's name, without its collection."""
  return jax.tree_util.tree_map(
      lambda name: name.removeprefix('params/'),
      py_utils.extract_prefixed_keys_from_nested_map(variables),
  )
