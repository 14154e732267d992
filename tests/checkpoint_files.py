"""Jobs as Pax leaves them on disk, without training.

    python checkpoint_files.py JOB_DIR

prints, as JSON, what each device of a process reads of a job's experts, and the
logits of `images()`.
"""

from collections.abc import Callable
import json
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

import jax
from jax import numpy as jnp
import numpy as np
from pax_jobs import TINY
from pax_softmoe import experiments
from pax_softmoe.evaluation import inference
from pax_softmoe.tpu import train_step
from paxml import checkpoint_types
from paxml import checkpoints
from paxml import tasks_lib

# What a program elsewhere does; our packages cannot be imported there.
_ELSEWHERE = """
import json, sys
for name in ('pax_softmoe', 'paxml', 'praxis'):
  sys.modules[name] = None
import numpy as np
import tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
serve = model.signatures['serving_default']
pixels = np.load(sys.argv[2])
outputs = serve(images=tf.constant(pixels, tf.float32))
one = serve(images=tf.constant(pixels[:1], tf.float32))
result = {name: x.numpy().tolist() for name, x in outputs.items()}
result['one'] = one['logits'].numpy().tolist()
print(json.dumps(result))
"""

_same = lambda x: x

NAME = 'SoftMoEFashionMnist'
EXPERTS = 4


def experiment(name: str = NAME, **settings: Any) -> Any:
  """Returns a tiny experiment."""
  cls = getattr(experiments, name)
  if name == NAME:
    settings = {'NUM_EXPERTS': EXPERTS, **settings}
  return cls.with_settings(**{**TINY, **settings})()


def save_job(
    job_dir: pathlib.Path,
    of: Any,
    step: int = 7,
    seed: int = 0,
    **changes: Callable[[jax.Array], jax.Array],
) -> Any:
  """Writes a checkpoint of random numbers, optimizer state included.

  Args:
    job_dir: where to.
    of: an experiment from `experiment`.
    step: of the checkpoint.
    seed: of the numbers.
    **changes: what to do to weights, by the last part of their names.

  Returns:
    The weights; their moving average, if the experiment has EMA_DECAY.
  """
  rng = np.random.RandomState(seed)
  shapes = train_step.TrainStep(of, jax.devices()[:1]).state
  state = jax.tree_util.tree_map(
      lambda x: jnp.asarray(rng.normal(size=x.shape) * 0.3, x.dtype), shapes
  )
  state = state.replace(step=jnp.asarray(step, jnp.uint32))

  def changed(path, x):
    return changes.get(jax.tree_util.keystr(path[-1:]).strip(".[]'"), _same)(x)

  weights = jax.tree_util.tree_map_with_path(changed, state.mdl_vars)
  state = state.replace(mdl_vars=weights)
  checkpoints.save_checkpoint(
      state,
      job_dir / 'checkpoints',
      checkpoint_type=checkpoint_types.CheckpointType.GDA,
      train_state_unpadded_shape_dtype_struct=shapes,
  )
  if tasks_lib.has_ema(of.task()):
    state = tasks_lib.extract_ema(state)
  return jax.device_get(state.mdl_vars['params'])


def images(count: int = 3, size: int = 28, channels: int = 1) -> np.ndarray:
  """Returns [count, size, size, channels] from -1 to 1."""
  shape = [count, size, size, channels]
  return np.random.RandomState(1).uniform(-1, 1, shape).astype(np.float32)


def serve_elsewhere(
    saved_model: pathlib.Path, pixels: np.ndarray
) -> dict[str, Any]:
  """Returns what a SavedModel makes of images, in a process of TensorFlow.

  Args:
    saved_model: its folder.
    pixels: [images, size, size, channels] from 0 to 255.

  Returns:
    Each output, and as `one` the logits of the first image alone.
  """
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / 'pixels.npy'
    np.save(path, pixels)
    done = subprocess.run(
        [sys.executable, '-c', _ELSEWHERE, saved_model, path],
        capture_output=True,
        text=True,
    )
  assert done.returncode == 0, done.stderr[-2000:]
  return json.loads(done.stdout.splitlines()[-1])


def main(job_dir: str) -> None:
  classifier = inference.TrainedClassifier(experiment(), job_dir)
  experts = classifier.weights.vit.blocks_1.sub.feed_forward.moe.experts
  logits = classifier.predictions(images()).logits
  print(
      json.dumps({
          'parts': [s.data.shape for s in experts.wi.addressable_shards],
          'logits': logits.tolist(),
      })
  )


if __name__ == '__main__':
  main(sys.argv[1])
