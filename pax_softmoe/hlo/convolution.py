"""FLOPs of a convolution, which is what XLA for TPU makes of every dot."""

import math
import re

from pax_softmoe.hlo import parsing


def flops(module: parsing.Module, instruction: parsing.Instruction) -> int:
  """Returns the FLOPs of a convolution, products with padding left out.

  XLA for TPU writes the batch dims of a dot as spatial dims that are dilated,
  padded and strided so that each result reads one input: counting all positions
  of the window would count the product several times over.
  """
  labels = re.fullmatch(
      r'(\w+)_(\w+)->(\w+)', instruction.attribute('dim_labels') or ''
  )
  inputs, kernel, output = labels.groups()
  left, right = (o.shapes[0].dims for o in module.operands(instruction)[:2])
  result = instruction.shapes[0].dims
  spatial = [label for label in output if label.isdigit()]
  window = _window(instruction.attribute('window'), len(spatial))
  pairs = 1
  for label, dim in zip(sorted(spatial, key=int), window):
    pairs *= valid_pairs(
        size=left[inputs.index(label)],
        positions=result[output.index(label)],
        **dim,
    )
  return (
      2
      * pairs
      * right[kernel.index('i')]
      * result[output.index('b')]
      * result[output.index('f')]
  )


def _window(text: str | None, rank: int) -> list[dict[str, int]]:
  """Reads `{size=3x3 stride=2x2 pad=0_1x0_1}`: the numbers of each dim."""
  fields = dict(re.findall(r'(\w+)=([\d_x\-]+)', text or ''))

  def numbers(key, default):
    values = fields[key].split('x') if key in fields else [default] * rank
    return [int(value.partition('_')[0]) for value in values]

  return [
      dict(zip(('window', 'stride', 'padding', 'dilation', 'spread'), values))
      for values in zip(
          numbers('size', '1'),
          numbers('stride', '1'),
          numbers('pad', '0_0'),
          numbers('lhs_dilate', '1'),
          numbers('rhs_dilate', '1'),
      )
  ]


def valid_pairs(
    *,
    size: int,
    positions: int,
    window: int,
    stride: int,
    padding: int,
    dilation: int,
    spread: int,
) -> int:
  """Returns how many inputs the results of one spatial dim read together.

  Result r reads, for each k of the window, the input at
  (r * stride + k * spread - padding) / dilation, if there is one there.

  Args:
    size: inputs.
    positions: results.
    window: size of the window.
    stride: from one result to the next.
    padding: zeros before the first input.
    dilation: distance of the inputs.
    spread: distance of the window's elements.
  """
  common = math.gcd(stride, dilation)
  period = dilation // common
  pairs = 0
  for k in range(window):
    offset = k * spread - padding
    if offset % common:
      continue
    # Results from `first` to `last` read between the first and last input; of
    # these every `period`-th meets one.
    first = max(0, -(offset // stride))
    last = min(positions - 1, ((size - 1) * dilation - offset) // stride)
    inverse = pow(stride // common, -1, period)
    first += (-(offset // common) * inverse - first) % period
    pairs += max(0, (last - first) // period + 1)
  return pairs
