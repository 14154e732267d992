"""Estimated times of exchanges that can be worked out by hand."""

from pax_softmoe.hlo import collectives
from pax_softmoe.tpu import hardware
from pax_softmoe.tpu import links
import pytest

# What one link carries in a millisecond.
MS = 45_000_000
HOP = 1e-6

# 2 x 2 x 2 chips, not linked at the ends: device = x + 2 y + 4 z.
CUBE = hardware.find_slice('v4-16')
ALL_8 = (tuple(range(8)),)
ALONG_Z = ((0, 4), (1, 5), (2, 6), (3, 7))
# 4 x 4 x 4 chips, linked at the ends.
TORUS = hardware.find_slice('v4-128')
ALL_64 = (tuple(range(64)),)


def sent(kind, size, groups, opcode=None, count=1):
  return collectives.Collective(
      kind, opcode or kind, 'c', count, size, 'f32', 'f32', groups
  )


@pytest.mark.parametrize(
    'collective, tpu_slice, milliseconds, hops',
    [
        # Each of two neighbours receives half over the one link.
        (sent('all-gather', 2 * MS, ALONG_Z), CUBE, 1, 1),
        (sent('reduce-scatter', 2 * MS, ALONG_Z), CUBE, 1, 1),
        (sent('all-reduce', 2 * MS, ALONG_Z), CUBE, 2, 2),
        # Written as a sum of zeros and own parts, a gather takes twice as long;
        # fused with a slice, a sum takes half as long.
        (sent('all-gather', 2 * MS, ALONG_Z, 'all-reduce'), CUBE, 2, 2),
        (sent('reduce-scatter', 2 * MS, ALONG_Z, 'all-reduce'), CUBE, 1, 1),
        # Each of eight receives 7/8 over three links.
        (sent('all-gather', 24 * MS, ALL_8), CUBE, 7, 3),
        # Each of 64 receives 63/64 over six links.
        (sent('all-gather', 64 * MS, ALL_64), TORUS, 10.5, 6),
        # One link between each two halves of the cube: half of four chips'
        # bytes over four links.
        (sent('all-to-all', 2 * MS, ALL_8), CUBE, 1, 3),
        (sent('all-to-all', 2 * MS, ALONG_Z), CUBE, 1, 1),
        # Half of 32 chips' bytes over 16 lines that are closed to rings.
        (sent('all-to-all', 2 * MS, ALL_64), TORUS, 1, 6),
    ],
)
def test_one_run(collective, tpu_slice, milliseconds, hops):
  want = milliseconds * 1e-3 + hops * HOP
  assert links.seconds(collective, tpu_slice) == pytest.approx(want)


# A full v5e: 16 x 16 chips, closed to rings; half of it, along y only.
FLAT = hardware.find_slice('v5e-256')
HALF = hardware.find_slice('v5e-128')
# 2 x 2 x 1 chips of two devices each: devices 0 and 1 are of one chip.
PAIRS = hardware.find_slice('tpu7x-8')
# What one link of a TPU7x carries in a millisecond.
MS7 = 90_000_000


@pytest.mark.parametrize(
    'collective, tpu_slice, milliseconds, hops',
    [
        # Each of 256 receives 255/256 over four links.
        (
            sent('all-gather', 1024 * MS, (tuple(range(256)),)),
            *(FLAT, 255, 16),
        ),
        # Each of 128 receives 127/128: one link in x, two in y.
        (
            sent('all-gather', 384 * MS, (tuple(range(128)),)),
            *(HALF, 127, 7 + 8),
        ),
        # What both devices of a chip send to each other uses no link.
        (
            sent('all-gather', MS7, ((0, 1), (2, 3), (4, 5), (6, 7))),
            PAIRS,
            0,
            0,
        ),
        # Four groups of two in x, two a chip: both use the one link between.
        (
            sent('all-gather', 2 * MS7, ((0, 2), (1, 3), (4, 6), (5, 7))),
            *(PAIRS, 2, 1),
        ),
        # One group of all eight: a chip passes on seven eighths, by two links.
        (sent('all-gather', 16 * MS7, (tuple(range(8)),)), PAIRS, 7, 2),
        # Half of the bytes of four devices over the two lines across the middle.
        (sent('all-to-all', 2 * MS7, (tuple(range(8)),)), PAIRS, 2, 2),
    ],
)
def test_one_run_on_other_chips(collective, tpu_slice, milliseconds, hops):
  want = milliseconds * 1e-3 + hops * HOP
  assert links.seconds(collective, tpu_slice) == pytest.approx(want)


def test_coordinates_say_where_the_mesh_has_its_devices():
  # Devices 0 and 1 are the ends of a line of four in z, not neighbours in x.
  ends = [(0, 0, 0), (0, 0, 3)]
  line = hardware.find_slice('v4-32')
  gather = sent('all-gather', 2 * MS, ((0, 1),))
  assert links.seconds(gather, line) == pytest.approx(1e-3 + HOP)
  # The two chips between them need the same links, for a group of their own.
  got = links.seconds(gather, line, ends)
  assert got == pytest.approx(2e-3 + 3 * HOP)


@pytest.mark.parametrize(
    'pairs, tpu_slice, milliseconds, hops',
    [
        (((0, 1), (1, 0)), CUBE, 1, 1),
        # All eight to the opposite corner: 24 hops, as many as links.
        (tuple((i, 7 - i) for i in range(8)), CUBE, 1, 3),
        (((0, 0), (1, 1)), CUBE, 0, 0),
        # Devices 0 and 5 are at x = 0 and 3, which is next to it on the ring.
        (((0, 5),), TORUS, 1, 1),
    ],
)
def test_permutation(pairs, tpu_slice, milliseconds, hops):
  got = links.seconds(sent('collective-permute', MS, pairs), tpu_slice)
  assert got == pytest.approx(milliseconds * 1e-3 + hops * HOP)


def test_group_of_one_sends_nothing():
  alone = tuple((i,) for i in range(8))
  assert links.seconds(sent('all-reduce', MS, alone), CUBE) == 0


def test_total_counts_every_run():
  both = [
      sent('all-to-all', 2 * MS, ALL_8, count=96),
      sent('all-reduce', 2 * MS, ALONG_Z, count=2),
  ]
  want = 96 * (1e-3 + 3 * HOP) + 2 * (2e-3 + 2 * HOP)
  assert links.total_seconds(both, CUBE) == pytest.approx(want)
