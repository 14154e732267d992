"""TPU v4 slices, and programs compiled for them on a machine without a TPU.

libtpu has the compiler for TPUs and needs no TPU to run it:

    mesh = jax.sharding.Mesh(
        np.reshape(tpu.topology_devices('v4-128'), (64,)), ('expert',)
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
from collections.abc import Mapping
import contextlib
import dataclasses
import importlib.util
import math
import os
import pathlib
import re
import sys
import tempfile
from typing import Any

GIB = 2**30

# Of one chip. https://cloud.google.com/tpu/docs/v4
PEAK_FLOPS = 275e12  # bfloat16
HBM_BYTES_PER_SECOND = 1.2e12
HBM_GIB = 32.0
# The compiler reserves 1.25 GiB.
USABLE_HBM_GIB = 30.75
# Of the cycles that the compiler estimates. arXiv 2304.01433
CLOCK_HZ = 1050e6
# One way, of one link; and for the first byte to reach the next chip.
# https://jax-ml.github.io/scaling-book/tpus and /sharding
LINK_BYTES_PER_SECOND = 4.5e10
HOP_SECONDS = 1e-6
# One way, from a chip to other slices. https://jax-ml.github.io/scaling-book/tpus
DCN_BYTES_PER_SECOND = 6.25e9


@dataclasses.dataclass(frozen=True)
class Slice:
  """A slice of TPU v4.

  Attributes:
    name: as Google Cloud calls it, by its number of cores: two a chip.
    bounds: chips in x, y and z.
  """

  name: str
  bounds: tuple[int, int, int]

  @property
  def chips(self) -> int:
    return math.prod(self.bounds)

  @property
  def topology(self) -> str:
    """As libtpu names it, 'v4:2x2x1'."""
    return 'v4:' + 'x'.join(str(n) for n in self.bounds)

  @property
  def is_torus(self) -> bool:
    """Whether the ends are linked: only slices of whole 4x4x4 cubes are."""
    return all(n % 4 == 0 for n in self.bounds)

  @property
  def coordinates(self) -> tuple[tuple[int, int, int], ...]:
    """Of the chips, in the order in which JAX counts them.

    That is host by host; one has 2x2x1 chips.
    """
    x, y, z = self.bounds
    return tuple(
        (hx + dx, hy + dy, hz)
        for hz in range(z)
        for hy in range(0, y, 2)
        for hx in range(0, x, 2)
        for dy in range(2)
        for dx in range(2)
    )


SLICES: Mapping[str, Slice] = {
    name: Slice(name, bounds)
    for name, bounds in {
        'v4-8': (2, 2, 1),
        'v4-16': (2, 2, 2),
        'v4-32': (2, 2, 4),
        'v4-64': (2, 4, 4),
        'v4-128': (4, 4, 4),
        'v4-256': (4, 4, 8),
        'v4-512': (4, 8, 8),
        'v4-1024': (8, 8, 8),
    }.items()
}


def utilization(
    images_per_second: float, flop_per_image: float, chips: int = 1
) -> float:
  """Returns the model FLOPs utilization (MFU) of chips of TPU v4.

  Args:
    images_per_second: of all chips together.
    flop_per_image: of the model, forward and backward, without recomputation.
    chips: how many.
  """
  return images_per_second * flop_per_image / (chips * PEAK_FLOPS)


def find_slice(name: str) -> Slice:
  """Returns the slice of that name.

  Raises:
    ValueError: there is none.
  """
  if name not in SLICES:
    raise ValueError(
        f'no TPU slice {name!r}; use one of {", ".join(SLICES)} (the number is'
        ' that of cores, two a chip)'
    )
  return SLICES[name]


def parse_slices(text: str) -> tuple[int, Slice]:
  """Returns how many slices of what kind are meant.

  Args:
    text: 'v4-128' for one, '2xv4-128' for two that are linked by the network
      of the data centre.

  Raises:
    ValueError: there is no such slice, or fewer than one.
  """
  count, name = re.fullmatch(r'(?:(\d+)x)?(.*)', text, re.DOTALL).groups()
  if count is not None and int(count) < 2:
    raise ValueError(f'{count} slices ({text!r}): use {name}, or 2x{name}')
  return int(count or 1), find_slice(name)


def libtpu_path() -> str:
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

  Each is one chip, of whose two cores the compiler makes one. Such devices can
  be put in a mesh and in shardings, and programs can be compiled for them, but
  not run.

  Args:
    slice_name: a key of `SLICES`.

  Returns:
    One `jax.Device` a chip, in the order of `Slice.coordinates`.

  Raises:
    ValueError: there is no such slice.
    RuntimeError: there is no libtpu, or it does not work with this jaxlib.
  """
  tpu_slice = find_slice(slice_name)
  path = libtpu_path()
  # Without the first, libtpu asks Google Cloud's metadata server for minutes;
  # without the second, only one process of a machine can load it.
  os.environ.setdefault('TPU_SKIP_MDS_QUERY', '1')
  os.environ.setdefault('ALLOW_MULTIPLE_LIBTPU_LOAD', '1')
  from jax.experimental import topologies  # pylint: disable=g-import-not-at-top

  try:
    with _library_path(path), _quiet_stderr():
      return list(
          topologies.get_topology_desc(
              topology_name=tpu_slice.topology,
              platform='tpu',
              chip_config_name='megacore',
              chips_per_host_bounds=(2, 2, 1),
              num_slices=1,
          ).devices
      )
  except RuntimeError as e:
    raise RuntimeError(
        f'{path} does not work with this jaxlib; use libtpu 0.0.11.4 with jax'
        f' 0.5.3 (pip install pax_softmoe[tpu]): {e}'
    ) from e


@contextlib.contextmanager
def _library_path(path: str) -> Iterator[None]:
  """Sets TPU_LIBRARY_PATH, but leaves it unset to child processes."""
  before = os.environ.get('TPU_LIBRARY_PATH')
  os.environ['TPU_LIBRARY_PATH'] = path
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
