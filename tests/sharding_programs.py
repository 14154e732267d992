"""Train steps as the compiler leaves them for eight devices.

    python sharding_programs.py FOLDER [NAME...]

compiles the steps in `PROGRAMS`, or those named, and writes each to the
folder, with the bytes of its arguments on each device in sizes.json.
"""

from collections.abc import Sequence
import json
import pathlib
import sys

import jax
from pax_softmoe.hlo import module
from pax_softmoe.tpu import train_step
import sharding_cases
from sharding_cases import Case

EXPERT_MESH = (1, 2, 4, 1)
MODEL_MESH = (1, 2, 2, 2)
BFLOAT16 = dict(COMPUTE_DTYPE=jax.numpy.bfloat16)
# Two scanned blocks with experts after a dense one, as in the large models.
SETTINGS = dict(NUM_LAYERS=3, MOE_LAYERS=(1, 2), REMAT='exchange')


def _soft(preset, mesh=EXPERT_MESH, **settings):
  return Case('soft', preset, mesh), {**BFLOAT16, **settings}


# Name -> case and settings.
PROGRAMS = {
    'single': _soft('replicated', sharding_cases.SINGLE),
    'expert_parallel': _soft('expert_parallel'),
    'expert_parallel-full': _soft('expert_parallel', REMAT='full'),
    'expert_parallel-products': _soft('expert_parallel', REMAT='products'),
    'expert_parallel-parts': _soft('expert_parallel', EXCHANGE_PARTS=2),
    'expert_parallel_zero': _soft('expert_parallel_zero'),
    'fsdp_dense': _soft('fsdp_dense'),
    'expert_model_parallel': _soft('expert_model_parallel', MODEL_MESH),
    'replicated': _soft('replicated'),
    'tokens': (Case('tokens', 'expert_parallel', EXPERT_MESH), BFLOAT16),
    'experts': (Case('experts', 'expert_parallel', EXPERT_MESH), BFLOAT16),
}


def main(folder: pathlib.Path, names: Sequence[str]) -> None:
  sizes = {}
  for name in names or PROGRAMS:
    case, settings = PROGRAMS[name]
    experiment = case.experiment(**SETTINGS | settings)
    devices = jax.devices()[: 1 if name == 'single' else 8]
    step = train_step.TrainStep(experiment, devices)
    compiled = step.compile(sharding_cases.FAST_COMPILE)
    serialized = module.of(compiled).proto.SerializeToString()
    (folder / f'{name}.hlo').write_bytes(serialized)
    sizes[name] = compiled.memory_analysis().argument_size_in_bytes
  (folder / 'sizes.json').write_text(json.dumps(sizes))


if __name__ == '__main__':
  main(pathlib.Path(sys.argv[1]), sys.argv[2:])
