"""The compiler for TPUs, on a machine without a TPU.

libtpu has the compiler for TPUs and needs no TPU to run it:

    mesh = jax.sharding.Mesh(
        np.reshape(libtpu.topology_devices('v4-128'), (64,)), ('expert',)
    )
    compiled = jax.jit(step, …).lower(*specs_on_that_mesh).compile()

`executable` then reads what such a program needs and does.

libtpu is found as an installed package, by TPU_LIBRARY_PATH, or where this puts
it:

    pip install --no-deps --target=$VIRTUAL_ENV/libtpu libtpu==0.0.11.4

Only there it is out of sight of JAX, which looks for a TPU for minutes if it
sees libtpu and neither JAX_PLATFORMS=cpu nor TPU_SKIP_MDS_QUERY=1 is set.
"""

from collections.abc import Iterator
import contextlib
import importlib.metadata
import importlib.util
import os
import pathlib
import sys
import tempfile
from typing import Any

from pax_softmoe.tpu import hardware

# Which version was built with which jaxlib.
_BELONGING = '0.0.11.4 with jax 0.5.3, 0.0.42.1 with jax 0.10.2'


def path() -> str:
  """Returns the path of libtpu.so.

  Raises:
    RuntimeError: it is nowhere to be found.
  """
  places = [os.environ.get('TPU_LIBRARY_PATH', '')]
  package = importlib.util.find_spec('libtpu')
  if package is not None and package.origin:
    places.append(str(pathlib.Path(package.origin).with_name('libtpu.so')))
  places.append(str(pathlib.Path(sys.prefix, 'libtpu/libtpu/libtpu.so')))
  for place in places:
    if os.path.isfile(place):
      return place
  raise RuntimeError(
      'compiling for TPU needs libtpu, which is not installed: pip install'
      " 'pax_softmoe[tpu]', or set TPU_LIBRARY_PATH to a libtpu.so"
  )


def topology_devices(slice_name: str) -> list[Any]:
  """Returns devices to compile for, without any TPU.

  They can be put in a mesh and in shardings, and programs can be compiled for
  them, but not run.

  Args:
    slice_name: a key of `hardware.SLICES`.

  Returns:
    One `jax.Device` for each of `Slice.coordinates`.

  Raises:
    ValueError: there is no such slice.
    RuntimeError: there is no libtpu, or it does not work with this jaxlib, or
      is older than the chip.
  """
  tpu_slice = hardware.find_slice(slice_name)
  library = path()
  # Without the first, libtpu asks Google Cloud's metadata server for minutes;
  # without the second, only one process of a machine can load it.
  os.environ.setdefault('TPU_SKIP_MDS_QUERY', '1')
  os.environ.setdefault('ALLOW_MULTIPLE_LIBTPU_LOAD', '1')
  import jax  # pylint: disable=g-import-not-at-top
  from jax.experimental import topologies  # pylint: disable=g-import-not-at-top

  try:
    with _library_path(library), _quiet_stderr():
      return list(
          topologies.get_topology_desc(
              topology_name=tpu_slice.topology,
              platform='tpu',
              chip_config_name=tpu_slice.chip.config,
              chips_per_host_bounds=(2, 2, 1),
              num_slices=1,
          ).devices
      )
  except (RuntimeError, ValueError) as e:
    raise RuntimeError(
        f'{library}, version {version() or "unknown"}, does not give devices of'
        f' {tpu_slice.topology} to jax {jax.__version__}: use libtpu'
        f' {_BELONGING}; tpu7x needs the latter: {e}'
    ) from e


def version() -> str:
  """Returns the version of libtpu, '' if it is not known or there is none."""
  try:
    folder = pathlib.Path(path()).parents[1]
  except RuntimeError:
    return ''
  found = importlib.metadata.distributions(name='libtpu', path=[str(folder)])
  return next((d.version for d in found), '')


@contextlib.contextmanager
def _library_path(library: str) -> Iterator[None]:
  """Sets TPU_LIBRARY_PATH, but leaves it unset to child processes."""
  before = os.environ.get('TPU_LIBRARY_PATH')
  os.environ['TPU_LIBRARY_PATH'] = library
  try:
    yield
  finally:
    if before is None:
      del os.environ['TPU_LIBRARY_PATH']
    else:
      os.environ['TPU_LIBRARY_PATH'] = before


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
  """Keeps what libtpu writes when it finds no TPU; shows it upon an error."""
  kept = os.dup(2)
  with tempfile.TemporaryFile() as written:
    os.dup2(written.fileno(), 2)
    try:
      yield
    except BaseException:
      written.seek(0)
      os.write(kept, written.read())
      raise
    finally:
      os.dup2(kept, 2)
      os.close(kept)
