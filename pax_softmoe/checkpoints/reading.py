"""Reads the weights of a model from a Pax checkpoint, and nothing else."""

import pathlib
import re
from typing import Any

import jax
from pax_softmoe.analysis import model_size
from pax_softmoe.checkpoints import convert
from praxis import py_utils
import tensorstore

NestedMap = py_utils.NestedMap

_STEP = re.compile(r'checkpoint_(\d+)')
_WEIGHTS = 'mdl_vars.params.'


def steps(job_dir: pathlib.Path) -> list[int]:
  """Returns the steps of all finished checkpoints of a job, ascending."""
  names = [p.name for p in (job_dir / 'checkpoints').glob('checkpoint_*')]
  matches = (_STEP.fullmatch(name) for name in names)
  return sorted(int(match[1]) for match in matches if match)


def read_weights(
    job_dir: pathlib.Path, step: int | None = None
) -> tuple[int, NestedMap]:
  """Reads the weights that a job saved.

  Arrays are read one by one; optimizer state is not touched.

  Args:
    job_dir: the job_log_dir of the job.
    step: which checkpoint; None for the last.

  Returns:
    The step, and the tree of weights as NumPy arrays.

  Raises:
    ValueError: there is no such checkpoint.
  """
  step, arrays = _open_weights(job_dir, step)
  return step, jax.tree_util.tree_map(lambda x: x.read().result(), arrays)


def check_fits(
    job_dir: pathlib.Path, experiment: Any, step: int | None = None
) -> None:
  """Checks that an experiment can go on from a checkpoint, by shapes alone.

  Pax refuses others too, with a message of many thousand letters.

  Args:
    job_dir: the job_log_dir of the job.
    experiment: an `ImageClassification`.
    step: which checkpoint; None for the last.

  Raises:
    ValueError: it cannot, or there is no such checkpoint.
  """
  wanted = model_size.abstract_weights(experiment)
  wanted = jax.tree_util.tree_map(
      lambda w: jax.ShapeDtypeStruct(w.full_shape, w.dtype.dtype), wanted
  )
  convert.check_shapes(_open_weights(job_dir, step)[1], wanted)


def _open_weights(
    job_dir: pathlib.Path, step: int | None
) -> tuple[int, NestedMap]:
  """Returns the step, and the tree of weights as arrays not yet read."""
  found = steps(job_dir)
  if not found:
    raise ValueError(f'{job_dir} holds no finished checkpoint; train first')
  if step is None:
    step = found[-1]
  if step not in found:
    raise ValueError(
        f'{job_dir} holds no checkpoint of step {step}; it has'
        f' {", ".join(map(str, found))}'
    )
  folder = job_dir / 'checkpoints' / f'checkpoint_{step:08d}' / 'state'
  names = sorted(p.name for p in folder.glob(_WEIGHTS + '*'))
  if not names:
    raise ValueError(
        f'{folder} holds no single arrays; checkpoints in the OCDBT format'
        ' cannot be read'
    )
  weights = NestedMap()
  for name in names:
    spec = {
        'driver': 'zarr',
        'kvstore': {'driver': 'file', 'path': str(folder / name)},
    }
    array = tensorstore.open(spec, open=True).result()
    weights.Set(name.removeprefix(_WEIGHTS), array)
  return step, weights
