"""Train steps of tiny models on many meshes, in a process with many CPUs.

    python sharding_cases.py RESULT.json NAME...

runs the steps of that name in `CASES` and writes how far each is from the same
step on a single device. It needs as many CPU devices as the largest mesh.
"""

from collections.abc import Sequence
import dataclasses
import functools
import json
import pathlib
import sys
from typing import Any

import jax
import numpy as np
from pax_softmoe import experiments
from pax_softmoe.tpu import train_step
from praxis import py_utils

# Compiles three times as fast, to slower code.
FAST_COMPILE = {
    'xla_backend_optimization_level': 0,
    'xla_llvm_disable_expensive_passes': True,
}
# Two blocks, the second with experts, on 16 tokens an image. Rates are high so
# that a wrong step shows, and decay acts on every kind of weight.
TINY = dict(
    PATCH_SIZE=7,
    MODEL_DIMS=16,
    HIDDEN_DIMS=32,
    NUM_HEADS=4,
    NUM_LAYERS=2,
    TRAIN_BATCH_SIZE=16,
    NUM_TRAIN_STEPS=30,
    WARMUP_STEPS=0,
    COOLDOWN_STEPS=10,
    LEARNING_RATE=0.01,
)
BFLOAT16 = dict(COMPUTE_DTYPE=jax.numpy.bfloat16)
SOFT = ('SoftMoEFashionMnist', dict(NUM_EXPERTS=8))
ROUTERS = {
    'soft': SOFT,
    'soft_2_slots': (SOFT[0], dict(NUM_EXPERTS=4, SLOTS_PER_EXPERT=2)),
    'tokens': (
        'TokensChoiceFashionMnist',
        dict(NUM_EXPERTS=8, NUM_SELECTED_EXPERTS=2, GROUP_SIZE=2),
    ),
    'experts': (
        'ExpertsChoiceFashionMnist',
        dict(NUM_EXPERTS=8, GROUP_SIZE=2),
    ),
    'identity': (
        'IdentityFashionMnist',
        dict(NUM_EXPERTS=8, SLOTS_PER_EXPERT=2),
    ),
    'uniform': ('UniformFashionMnist', dict(NUM_EXPERTS=8)),
    'dense': ('ViTFashionMnist', {}),
    'six_experts': (SOFT[0], dict(NUM_EXPERTS=6, TRAIN_BATCH_SIZE=24)),
    'bfloat16': (SOFT[0], dict(NUM_EXPERTS=8, **BFLOAT16)),
    'two_parts': (SOFT[0], dict(NUM_EXPERTS=8, EXCHANGE_PARTS=2)),
}
PRESETS = (
    'expert_parallel',
    'expert_parallel_zero',
    'fsdp_dense',
    'expert_model_parallel',
    'replicated',
)


@dataclasses.dataclass(frozen=True)
class Case:
  """A model and where it is.

  Attributes:
    router: a name in `ROUTERS`.
    preset: of the sharding.
    ici: mesh of a slice.
    dcn: slices along each axis.
  """

  router: str
  preset: str
  ici: tuple[int, ...]
  dcn: tuple[int, ...] | None = None

  def __str__(self) -> str:
    ici = 'x'.join(map(str, self.ici))
    dcn = '_dcn_' + 'x'.join(map(str, self.dcn)) if self.dcn else ''
    return f'{self.router}-{self.preset}-{ici}{dcn}'

  def experiment(self, **changes: Any) -> Any:
    """Returns the experiment, an instance, with further settings changed."""
    name, settings = ROUTERS[self.router]
    settings = {
        **TINY,
        **settings,
        'SHARDING': self.preset,
        'ICI_MESH_SHAPE': self.ici,
        'DCN_MESH_SHAPE': self.dcn,
        **changes,
    }
    return getattr(experiments, name).with_settings(**settings)()


SINGLE = (1, 1, 1, 1)
TWO_SLICES = (2, 1, 1, 1)
# Every preset, mesh and router at least once.
SELECTED = (
    Case('soft', 'expert_parallel', (1, 1, 8, 1)),
    Case('soft', 'expert_parallel', (1, 2, 4, 1)),
    Case('soft', 'expert_parallel', (1, 8, 1, 1)),
    Case('soft', 'expert_parallel', (1, 2, 4, 1), TWO_SLICES),
    Case('soft', 'expert_parallel_zero', (1, 4, 2, 1)),
    Case('soft', 'fsdp_dense', (1, 2, 4, 1)),
    Case('soft', 'expert_model_parallel', (1, 1, 4, 2)),
    Case('soft', 'expert_model_parallel', (1, 2, 2, 2), TWO_SLICES),
    Case('soft', 'replicated', (1, 2, 4, 1)),
    Case('two_parts', 'expert_parallel', (1, 2, 4, 1)),
    Case('tokens', 'expert_parallel', (1, 2, 4, 1)),
    Case('experts', 'expert_parallel_zero', (1, 2, 4, 1)),
    Case('identity', 'expert_model_parallel', (1, 2, 2, 2)),
    Case('uniform', 'fsdp_dense', (1, 4, 2, 1)),
    Case('dense', 'expert_model_parallel', (1, 2, 2, 2)),
    Case('six_experts', 'expert_parallel_zero', (1, 2, 3, 1)),
    Case('bfloat16', 'expert_parallel', (1, 2, 4, 1)),
)
MESHES = (
    ((1, 1, 8, 1), None),
    ((1, 2, 4, 1), None),
    ((1, 4, 2, 1), None),
    ((1, 8, 1, 1), None),
    ((1, 2, 2, 2), None),
    ((1, 1, 4, 1), TWO_SLICES),
    ((1, 2, 2, 2), TWO_SLICES),
)
ALL = tuple(
    Case('soft', preset, *mesh) for preset in PRESETS for mesh in MESHES
) + tuple(
    Case(router, preset, (1, 2, 2, 2))
    for router in ('soft_2_slots', 'tokens', 'experts', 'identity', 'uniform')
    for preset in PRESETS
)
CASES = {str(case): case for case in SELECTED + ALL}


def random_batch(shapes: Any) -> Any:
  """Returns images, one label each, and weights of which one is zero."""
  random = np.random.RandomState(1)
  images = random.uniform(-1, 1, shapes.image.shape).astype(np.float32)
  size, classes = shapes.labels.shape
  labels = np.eye(classes, dtype=np.float32)[random.randint(0, classes, size)]
  weights = np.ones(size, np.float32)
  weights[3] = 0
  return py_utils.NestedMap(
      image=images, labels=labels, eval_sample_weights=weights
  )


def random_state(shapes: Any) -> Any:
  """Returns a train state at its first step, with weights that are all alive.

  The head starts at zero in training, so that nothing else would have a
  gradient; here every weight is drawn from a normal distribution.
  """
  random = np.random.RandomState(0)

  def draw(x):
    return (0.3 * random.standard_normal(x.shape)).astype(x.dtype)

  zeros = jax.tree_util.tree_map(lambda x: np.zeros(x.shape, x.dtype), shapes)
  return zeros.replace(mdl_vars=jax.tree_util.tree_map(draw, shapes.mdl_vars))


def step(case: Case) -> dict[str, np.ndarray]:
  """Returns the loss, and all arrays of the train state after one step."""
  needed = np.prod(case.experiment().mesh_shape())
  program = train_step.TrainStep(case.experiment(), jax.devices()[:needed])
  before = random_state(program.state)
  arguments = program.arguments(
      before, np.array([5, 7], np.uint32), random_batch(program.batch)
  )
  after, outputs = program.compile(FAST_COMPILE)(*arguments)
  names = py_utils.extract_prefixed_keys_from_nested_map(after)
  found = dict(
      zip(jax.tree_util.tree_leaves(names), jax.tree_util.tree_leaves(after))
  )
  found = {n: np.asarray(x, np.float64) for n, x in found.items()}
  found['loss'] = np.asarray(outputs.loss, np.float64)
  return found


@functools.cache
def single_device(router: str) -> dict[str, np.ndarray]:
  return step(Case(router, 'replicated', SINGLE))


def compare(case: Case) -> dict[str, Any]:
  """Returns norm and relative error of each array, against a single device."""
  want, got = single_device(case.router), step(case)
  assert want.keys() == got.keys()
  return {
      name: [
          float(np.linalg.norm(want[name])),
          _distance(got[name], want[name]),
      ]
      for name in want
  }


def _distance(got: np.ndarray, want: np.ndarray) -> float:
  return float(np.linalg.norm(got - want) / max(np.linalg.norm(want), 1e-30))


def main(path: str, names: Sequence[str]) -> None:
  results = {name: compare(CASES[name]) for name in names}
  pathlib.Path(path).write_text(json.dumps(results))


if __name__ == '__main__':
  main(sys.argv[1], sys.argv[2:])
