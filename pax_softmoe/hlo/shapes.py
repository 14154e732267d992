"""Shapes in the text of a compiled XLA module."""

import dataclasses
import math
import re

# An array shape, as `bf16[8,16]`; a bounded dynamic dim `<=8` counts as 8.
_SHAPE = re.compile(r'\b([a-z]\w*)\[([\d,<=]*)\]')
_BITS = re.compile(r'[a-z]+?(\d+)')


@dataclasses.dataclass(frozen=True)
class Shape:
  """An array on one device.

  Attributes:
    dtype: XLA's name, as 'bf16', 'f32', 'pred'.
    dims: its dimensions.
  """

  dtype: str
  dims: tuple[int, ...]

  @property
  def elements(self) -> int:
    return math.prod(self.dims)

  @property
  def bits(self) -> int:
    """Bits of one element; zero for tokens and opaque values."""
    if self.dtype == 'pred':
      return 8
    found = _BITS.match(self.dtype)
    return int(found[1]) if found else 0

  @property
  def bytes(self) -> int:
    """Bytes of the values, without a TPU's padding to whole tiles."""
    return -(-self.elements * self.bits // 8)


def parse(text: str) -> tuple[Shape, ...]:
  """Returns the arrays of a shape, those of a (nested) tuple in order."""
  return tuple(
      Shape(dtype, tuple(int(d.strip('<=')) for d in dims.split(',') if d))
      for dtype, dims in _SHAPE.findall(text)
  )
