"""TPU chips and slices of them.

Numbers are of one device as JAX counts them: a chip, but for TPU7x, of which
each half is one.
"""

from collections.abc import Mapping
import dataclasses
import math
import re

GIB = 2**30
# For the first byte to reach the next chip.
# https://jax-ml.github.io/scaling-book/sharding
HOP_SECONDS = 1e-6


@dataclasses.dataclass(frozen=True)
class Chip:
  """A kind of chip.

  Attributes:
    name: as slices are called after it, 'v4'.
    device_kinds: what JAX calls its devices, or has called them.
    peak_flops: bfloat16 FLOP/s of a device.
    flops_per_cycle: of the matrix units of a device.
    hbm_bytes_per_second: of a device.
    usable_hbm_gib: of a device, what the compiler leaves to programs.
    link_bytes_per_second: one way, of one link of a chip.
    dcn_bytes_per_second: one way, from a device to other slices.
    axes: along which chips are linked, two or three.
    ring: whole multiples of this many chips along an axis close to a ring.
    devices: of a chip.
    cores: of a chip, by which slices are named: v4-8 has four chips.
    config: what libtpu calls cores that act as one device.
  """

  name: str
  device_kinds: tuple[str, ...]
  peak_flops: float
  flops_per_cycle: int
  hbm_bytes_per_second: float
  usable_hbm_gib: float
  link_bytes_per_second: float
  dcn_bytes_per_second: float
  axes: int = 3
  ring: int = 4
  devices: int = 1
  cores: int = 1
  config: str = 'default'

  @property
  def clock_hz(self) -> float:
    """Of the cycles that the compiler estimates.

    At this clock the matrix units, always busy, would reach the peak.
    """
    return self.peak_flops / self.flops_per_cycle


# Peaks, memory, links and networks: https://cloud.google.com/tpu/docs/v4, /v5e,
# /v5p, /v6e and /tpu7x; links at 9/10 of that, as in
# https://jax-ml.github.io/scaling-book/tpus. Matrix units: v6e and TPU7x are seen
# to make 4 * 256 * 256 multiply-adds a cycle in compiled products, the others
# 4 * 128 * 128 a core. Usable memory is what the compiler says of itself.
CHIPS = (
    Chip(
        name='v4',
        device_kinds=('TPU v4',),
        peak_flops=275e12,
        flops_per_cycle=2**18,
        hbm_bytes_per_second=1.2e12,
        usable_hbm_gib=30.75,
        link_bytes_per_second=4.5e10,
        dcn_bytes_per_second=6.25e9,
        cores=2,
        config='megacore',
    ),
    Chip(
        name='v5e',
        device_kinds=('TPU v5 lite', 'TPU v5e'),
        peak_flops=197e12,
        flops_per_cycle=2**17,
        hbm_bytes_per_second=8.19e11,
        usable_hbm_gib=15.75,
        link_bytes_per_second=4.5e10,
        dcn_bytes_per_second=3.125e9,
        axes=2,
        ring=16,
    ),
    Chip(
        name='v5p',
        device_kinds=('TPU v5', 'TPU v5p'),
        peak_flops=459e12,
        flops_per_cycle=2**18,
        hbm_bytes_per_second=2.765e12,
        usable_hbm_gib=95.74,
        link_bytes_per_second=9e10,
        dcn_bytes_per_second=6.25e9,
        cores=2,
        config='megacore',
    ),
    Chip(
        name='v6e',
        device_kinds=('TPU v6 lite', 'TPU v6e'),
        peak_flops=918e12,
        flops_per_cycle=2**19,
        hbm_bytes_per_second=1.638e12,
        usable_hbm_gib=31.25,
        link_bytes_per_second=9e10,
        dcn_bytes_per_second=1.25e10,
        axes=2,
        ring=16,
    ),
    Chip(
        name='tpu7x',
        device_kinds=('TPU7x',),
        peak_flops=2307e12 / 2,
        flops_per_cycle=2**19,
        hbm_bytes_per_second=7.38e12 / 2,
        usable_hbm_gib=94.75,
        link_bytes_per_second=9e10,
        dcn_bytes_per_second=1.25e10 / 2,
        devices=2,
        cores=2,
    ),
)


@dataclasses.dataclass(frozen=True)
class Slice:
  """Chips of one kind that are linked to each other.

  Attributes:
    name: as Google Cloud calls it, by its number of cores.
    chip: the kind.
    bounds: chips in x, y and z.
  """

  name: str
  chip: Chip
  bounds: tuple[int, int, int]

  @property
  def devices(self) -> int:
    """How many JAX sees."""
    return math.prod(self.bounds) * self.chip.devices

  @property
  def topology(self) -> str:
    """As libtpu names it, 'v4:2x2x1' or 'v5e:4x4'."""
    bounds = self.bounds[: self.chip.axes]
    return f'{self.chip.name}:' + 'x'.join(str(n) for n in bounds)

  @property
  def rings(self) -> tuple[bool, ...]:
    """Whether the ends are linked, in x, y and z.

    Of chips in three axes that is so only for slices of whole 4x4x4 cubes.
    """
    whole = [n % self.chip.ring == 0 for n in self.bounds]
    return (all(whole),) * 3 if self.chip.axes == 3 else tuple(whole)

  @property
  def coordinates(self) -> tuple[tuple[int, int, int], ...]:
    """Of the chip of each device, in the order in which JAX counts devices.

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
        for _ in range(self.chip.devices)
    )


_BOUNDS = {
    2: [(2, 2), (2, 4), (4, 4), (4, 8), (8, 8), (8, 16), (16, 16)],
    3: [
        *((2, 2, 1), (2, 2, 2), (2, 2, 4), (2, 4, 4)),
        *((4, 4, 4), (4, 4, 8), (4, 8, 8), (8, 8, 8)),
    ],
}


def _slices() -> Mapping[str, Slice]:
  found = {}
  for chip in CHIPS:
    for bounds in _BOUNDS[chip.axes]:
      name = f'{chip.name}-{math.prod(bounds) * chip.cores}'
      found[name] = Slice(name, chip, (*bounds, 1)[:3])
  return found


SLICES = _slices()


def find_chip(device_kind: str) -> Chip | None:
  """Returns the chip whose devices JAX calls so, or None."""
  return next((c for c in CHIPS if device_kind in c.device_kinds), None)


def utilization(
    chip: Chip,
    images_per_second: float,
    flop_per_image: float,
    devices: int = 1,
) -> float:
  """Returns the model FLOPs utilization (MFU).

  Args:
    chip: the kind.
    images_per_second: of all devices together.
    flop_per_image: of the model, forward and backward, without recomputation.
    devices: how many.
  """
  return images_per_second * flop_per_image / (devices * chip.peak_flops)


def find_slice(name: str) -> Slice:
  """Returns the slice of that name.

  Raises:
    ValueError: there is none.
  """
  if name in SLICES:
    return SLICES[name]
  of_kind = [s for s in SLICES.values() if s.chip.name == name.split('-')[0]]
  known = of_kind or [
      s for s in SLICES.values() if s.devices == s.chip.devices * 4
  ]
  names = ', '.join(s.name for s in known)
  more = '' if of_kind else ' or larger ones'
  raise ValueError(
      f'no TPU slice {name!r}; use one of {names}{more} (the number is that of'
      ' cores; of v4, v5p and tpu7x, two a chip)'
  )


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
