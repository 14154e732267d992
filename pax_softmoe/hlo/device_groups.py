"""Which devices a collective instruction connects."""

import math
import re

from pax_softmoe.hlo import parsing

Groups = tuple[tuple[int, ...], ...]


def of(module: parsing.Module, instruction: parsing.Instruction) -> Groups:
  """Returns which devices a collective connects.

  Args:
    module: the module, which knows how many devices there are.
    instruction: the collective.

  Returns:
    Groups of device numbers; of a collective-permute, pairs (from, to).

  Raises:
    ValueError: the groups are written in a form that is not known.
  """
  pairs = instruction.attribute('source_target_pairs')
  text = pairs or instruction.attribute('replica_groups') or '{}'
  return parse(text, module.num_devices)


def parse(text: str, num_devices: int) -> Groups:
  """Reads groups of devices.

  Args:
    text: `{{0,2},{1,3}}`; or the same as `[2,2]<=[2,2]T(1,0)`, which counts up
      from zero in an array of the second shape, transposes it, and reshapes it
      to the first; or `{}`, all devices together.
    num_devices: devices of the program.

  Returns:
    The groups.

  Raises:
    ValueError: the text is none of these.
  """
  iota = re.fullmatch(
      r'\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?', text.strip()
  )
  if iota:
    shape, dims, order = (
        tuple(int(n) for n in part.split(',')) if part else ()
        for part in iota.groups()
    )
    numbers = _transposed_iota(dims, order or tuple(range(len(dims))))
    size = math.prod(shape[1:])
    return tuple(
        tuple(numbers[i : i + size]) for i in range(0, len(numbers), size)
    )
  if text.strip() in ('{}', '{{}}'):
    return (tuple(range(num_devices)),)
  if not re.fullmatch(r'\{(\{[\d, ]*\},?\s*)+\}', text.strip()):
    raise ValueError(f'cannot read these groups of devices: {text[:80]!r}')
  return tuple(
      tuple(int(n) for n in re.findall(r'\d+', group))
      for group in re.findall(r'\{([\d, ]+)\}', text)
  )


def _transposed_iota(
    dims: tuple[int, ...], order: tuple[int, ...]
) -> list[int]:
  """Returns 0, 1, 2, … in an array of `dims`, transposed, read in order."""
  strides = [math.prod(dims[d + 1 :]) for d in range(len(dims))]
  numbers = [0]
  for dim in order:
    numbers = [n + i * strides[dim] for n in numbers for i in range(dims[dim])]
  return numbers
