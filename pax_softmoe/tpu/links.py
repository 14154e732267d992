"""Estimates how long TPU chips exchange data over their interconnect (ICI).

Chips are linked to their neighbours in x and y, most kinds in z too; axes may
close to rings. The estimate assumes that each collective has the links of its
group to itself, uses all of them, and overlaps with nothing:

  gather, scatter  what a chip receives, over all its links towards the group;
                   an all-reduce is both, one after the other
  all-to-all       half of it crosses the middle of the group's longest axis:
                   the links there take the longest
  permute          all traffic spread over all links, at least one link's time

plus a latency for each hop. Two devices of one chip share its links; what they
send to each other takes no time. It is no measurement: it does not know of the
collective algorithms of libtpu, nor of what runs at the same time.
"""

from collections.abc import Iterable
from collections.abc import Sequence
import math

from pax_softmoe.hlo import collectives
from pax_softmoe.tpu import hardware

Coordinates = Sequence[Sequence[int]]


def total_seconds(
    sent: Iterable[collectives.Collective],
    tpu_slice: hardware.Slice,
    coordinates: Coordinates | None = None,
) -> float:
  """Returns the estimated time of all runs of these collectives, one by one.

  Args:
    sent: the collectives.
    tpu_slice: the slice they run on.
    coordinates: see `seconds`.

  Returns:
    Seconds.
  """
  return sum(c.count * seconds(c, tpu_slice, coordinates) for c in sent)


def seconds(
    sent: collectives.Collective,
    tpu_slice: hardware.Slice,
    coordinates: Coordinates | None = None,
) -> float:
  """Returns the estimated time of one run of a collective.

  Args:
    sent: the collective.
    tpu_slice: the slice it runs on.
    coordinates: (x, y, z) of each device as the program counts them, which is
      `[d.coords for d in mesh.devices.flat]`; None for JAX's own order.

  Returns:
    Seconds; zero if each device keeps what it has.
  """
  coordinates = coordinates or tpu_slice.coordinates
  if sent.kind == 'collective-permute':
    return _permute_seconds(sent, tpu_slice, coordinates)
  # Groups of a mesh axis mostly look alike; the slowest counts.
  shapes = {
      _extents(group, coordinates) for group in sent.groups if len(group) > 1
  }
  return max((_group_seconds(sent, tpu_slice, e) for e in shapes), default=0.0)


def axes(
    sent: collectives.Collective,
    tpu_slice: hardware.Slice,
    coordinates: Coordinates | None = None,
) -> frozenset[str]:
  """Returns along which of x, y and z a collective sends.

  Args:
    sent: see `seconds`.
    tpu_slice: see `seconds`.
    coordinates: see `seconds`.
  """
  coordinates = coordinates or tpu_slice.coordinates
  return frozenset(
      axis
      for group in sent.groups
      for axis, extent in zip('xyz', _extents(group, coordinates))
      if extent > 1
  )


def _extents(
    group: Sequence[int], coordinates: Coordinates
) -> tuple[int, int, int]:
  """Returns the size in x, y and z of the box around a group."""
  return tuple(
      max(axis) - min(axis) + 1
      for axis in zip(*(coordinates[device] for device in group))
  )


def _group_seconds(
    sent: collectives.Collective,
    tpu_slice: hardware.Slice,
    extents: tuple[int, int, int],
) -> float:
  """Returns the time of a collective in groups that span such boxes."""
  # Of the axes along which there is something to send, the length, and the
  # links that a chip has along it: two if it closes to a ring.
  axes = [
      (extent, 2 if ring and extent == bound else 1)
      for extent, bound, ring in zip(extents, tpu_slice.bounds, tpu_slice.rings)
      if extent > 1
  ]
  if not axes:
    return 0.0  # Within a chip.
  hops = sum(
      extent // 2 if links == 2 else extent - 1 for extent, links in axes
  )
  if sent.kind == 'all-to-all':
    # In a box of V chips, of which each device sends half of its bytes to the
    # other half of the box, V/2 * bytes/2 cross its middle one way, by V/extent
    # lines; with two devices a chip, twice that. Groups that share the box add up to the same.
    slowest = tpu_slice.chip.devices * max(
        extent * sent.bytes / 4 / links for extent, links in axes
    )
  else:
    # Groups that interleave in the box share its links.
    devices = math.prod(extents) * tpu_slice.chip.devices
    sharing = devices / sent.group_size
    received = sent.passes * sent.bytes * (1 - 1 / sent.group_size)
    slowest = sharing * received / sum(links for _, links in axes)
  return (
      slowest / tpu_slice.chip.link_bytes_per_second
      + sent.passes * hops * hardware.HOP_SECONDS
  )


def _permute_seconds(
    sent: collectives.Collective,
    tpu_slice: hardware.Slice,
    coordinates: Coordinates,
) -> float:
  """Returns the time of a permutation."""
  distances = [
      _distance(coordinates[source], coordinates[target], tpu_slice)
      for source, target in sent.groups
  ]
  if not any(distances):
    return 0.0
  chips = math.prod(tpu_slice.bounds)
  links = sum(
      2 * chips * (n if ring else n - 1) // n
      for n, ring in zip(tpu_slice.bounds, tpu_slice.rings)
  )
  load = max(1.0, sum(distances) / links)
  return (
      load * sent.bytes / tpu_slice.chip.link_bytes_per_second
      + max(distances) * hardware.HOP_SECONDS
  )


def _distance(
    source: Sequence[int], target: Sequence[int], tpu_slice: hardware.Slice
) -> int:
  """Returns the hops from one chip to another."""
  hops = 0
  for start, end, bound, ring in zip(
      source, target, tpu_slice.bounds, tpu_slice.rings
  ):
    along = abs(start - end)
    hops += min(along, bound - along) if ring else along
  return hops
