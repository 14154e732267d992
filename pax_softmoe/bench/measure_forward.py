"""Estimates the forward pass of Soft MoE H/14 against dense ViT-H/14.

    python -m pax_softmoe.bench.measure_forward

Compiles Pax' evaluation step for a v4-128 with 16 images a chip, in bfloat16,
with full effort and the flags `overlap`. All 32 blocks are known from two cut
models, see `pax_softmoe.tuning.cuts`. Times are the compiler's estimate of
computation, and what of the exchanges it leaves exposed by the model of
`tpu.links`; nothing is measured.
"""

import os

from pax_softmoe.tpu import flags

if __name__ == '__main__':
  os.environ['JAX_PLATFORMS'] = 'cpu'
  os.environ['TPU_SKIP_MDS_QUERY'] = '1'
  os.environ[flags.VARIABLE] = flags.text('overlap')

# The variables must be set before JAX looks for devices.
# ruff: noqa: E402
import jax
from jax import numpy as jnp
import numpy as np
from pax_softmoe import experiments
from pax_softmoe.sharding import axis_rules
from pax_softmoe.tpu import executable
from pax_softmoe.tpu import hardware
from pax_softmoe.tpu import libtpu
from pax_softmoe.tuning import cuts
from pax_softmoe.tuning import layout
from paxml import partitioning
from paxml import trainer_lib

SLICE = 'v4-128'
IMAGES_PER_CHIP = 16


def settings(cls: type) -> dict[str, object]:
  """Returns an unrolled model on the slice; dense weights on every chip."""
  chips = hardware.find_slice(SLICE).devices
  batch = IMAGES_PER_CHIP * chips
  return {
      'ICI_MESH_SHAPE': axis_rules.default_mesh_shape(
          chips, cls().num_experts()
      ),
      'SHARDING': 'expert_parallel',
      'SCAN_LAYERS': False,
      'TRAIN_BATCH_SIZE': batch,
      'EVAL_BATCH_SIZE': batch,
  }


def measure(cls: type) -> dict[str, float]:
  """Returns milliseconds of computation and of exposed exchanges."""
  experiment = cls()
  mesh = experiment.mesh_shape()
  order = list(layout.device_order(SLICE, mesh))
  devices = np.array(libtpu.topology_devices(SLICE))[order].reshape(mesh)
  specs = experiment.get_input_specs_provider_params().Instantiate()
  batch = specs.get_input_specs()
  task = experiment.task().Instantiate()
  partitioner = partitioning.PjitPartitioner(
      init_is_eval=True, reshard_inputs=False, task=task, device_mesh=devices
  )
  partitioner.setup(task, jax.random.PRNGKey(0), batch)
  metadata = partitioner.get_train_state_metadata(discard_opt_states=True)
  step, is_eval = partitioning.get_step_fn(partitioning.RunningMode.EVAL)
  step, split = partitioner.partition(step, batch, is_eval)

  def placed(shapes, splits):
    return jax.tree_util.tree_map(
        lambda x, s: jax.ShapeDtypeStruct(
            x.shape,
            x.dtype,
            sharding=jax.sharding.NamedSharding(partitioner.global_mesh, s),
        ),
        shapes,
        splits,
    )

  lowered = step.lower(
      placed(metadata.padded_global_shapes, metadata.partition_specs),
      jax.ShapeDtypeStruct((2,), jnp.uint32),
      placed(batch, split),
      trainer_lib.BaseStepFnStaticArgs(
          unpadded_global_batch_size=experiment.EVAL_BATCH_SIZE
      ),
  )
  report = executable.read(lowered.compile())
  tpu_slice = hardware.find_slice(SLICE)
  timeline = report.timeline(tpu_slice, layout.coordinates(SLICE, mesh))
  return {
      'compute_ms': 1e3 * timeline.compute_seconds,
      'exposed_ms': 1e3 * timeline.exposed_seconds,
  }


def main() -> None:
  totals = {}
  for name in ('ViTH14', 'SoftMoEH14'):
    cls = getattr(experiments, name)
    whole = cls.with_settings(**settings(cls))
    small, large = (
        measure(whole.with_settings(**cut)) for cut in cuts.of(whole())
    )
    got = cuts.extrapolate(small, large, (32 - 4) / 4)
    totals[name] = sum(got.values())
    print(name, {k: round(v, 2) for k, v in got.items()}, flush=True)
  print(f'Soft / dense {totals["SoftMoEH14"] / totals["ViTH14"]:.3f}')


if __name__ == '__main__':
  main()
