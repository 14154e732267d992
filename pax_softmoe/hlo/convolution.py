"""FLOPs of a convolution, which is what XLA for TPU makes of every dot."""

import math

from pax_softmoe.hlo import module


def flops(instruction: module.Instruction) -> int:
  """Returns the FLOPs of a convolution, products with padding left out.

  XLA for TPU writes the batch dims of a dot as spatial dims that are dilated,
  padded and strided so that each result reads one input: counting all positions
  of the window would count the product several times over.
  """
  inputs, kernel = (operand.shapes[0].dims for operand in instruction.operands)
  result = instruction.shapes[0].dims
  numbers = instruction.proto.convolution_dimension_numbers
  pairs = 1
  for i, dim in enumerate(instruction.proto.window.dimensions):
    pairs *= valid_pairs(
        size=inputs[numbers.input_spatial_dimensions[i]],
        positions=result[numbers.output_spatial_dimensions[i]],
        window=dim.size,
        stride=dim.stride,
        padding=dim.padding_low,
        dilation=dim.base_dilation,
        spread=dim.window_dilation,
    )
  return (
      2
      * pairs
      * kernel[numbers.kernel_input_feature_dimension]
      * result[numbers.output_batch_dimension]
      * result[numbers.output_feature_dimension]
  )


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
