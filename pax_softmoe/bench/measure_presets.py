"""Prints the table of sharding presets in sharding.md.

    python -m pax_softmoe.bench.measure_presets

compiles a training step of SoftMoES16 for eight CPU devices under each preset,
and reads what it sends. It takes minutes.
"""

import os

if __name__ == '__main__':
  os.environ['JAX_PLATFORMS'] = 'cpu'
  os.environ['XLA_FLAGS'] = '--xla_force_host_platform_device_count=8'

# The flag must be set before JAX looks for devices.
# ruff: noqa: E402
import jax
from pax_softmoe import experiments
from pax_softmoe.hlo import collectives
from pax_softmoe.tpu import executable
from pax_softmoe.tpu import train_step

SETTINGS = dict(TRAIN_BATCH_SIZE=128, EVAL_BATCH_SIZE=128, REMAT='exchange')
CASES = (
    ('expert_parallel', (1, 2, 4, 1)),
    ('expert_parallel_zero', (1, 2, 4, 1)),
    ('fsdp_dense', (1, 2, 4, 1)),
    ('expert_model_parallel', (1, 2, 2, 2)),
    ('replicated', (1, 8, 1, 1)),
)
# Code is not run, so it need not be fast.
COMPILER_OPTIONS = {
    'xla_backend_optimization_level': 0,
    'xla_llvm_disable_expensive_passes': True,
}
ITEMSIZE = {'bf16': 2, 'f32': 4}


def cell(found: list[collectives.Collective], kind: str) -> str:
  """Returns how many there are of a kind, and their MB in the model's dtype."""
  found = [c for c in found if c.kind == kind]
  # The CPU compiler widens bfloat16 to float32.
  size = sum(
      c.total_bytes * ITEMSIZE.get(c.source_dtype, 4) / ITEMSIZE.get(c.dtype, 4)
      for c in found
  )
  count = sum(c.count for c in found)
  return f'{count} ({size / 1e6:,.1f})' if count else '-'


def main() -> None:
  head = ['preset', 'data x expert x mdl', 'state, GiB'] + list(
      collectives.KINDS
  )
  print('| ' + ' | '.join(head) + ' |')
  print('|---' * len(head) + '|')
  for preset, mesh in CASES:
    experiment = experiments.SoftMoES16.with_settings(
        SHARDING=preset, ICI_MESH_SHAPE=mesh, **SETTINGS
    )()
    step = train_step.TrainStep(experiment, jax.devices())
    report = executable.read(step.compile(COMPILER_OPTIONS))
    # Single numbers, as of norms, say nothing of the layout.
    found = [c for c in report.collectives if c.bytes > 4096]
    row = [
        f'`{preset}`',
        ' x '.join(map(str, mesh[1:])),
        f'{report.argument_bytes / 2**30:.2f}',
        *(cell(found, kind) for kind in collectives.KINDS),
    ]
    print('| ' + ' | '.join(row) + ' |', flush=True)


if __name__ == '__main__':
  main()
