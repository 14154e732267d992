"""What a compiled module computes: matrix products, and a TPU's cycles.

A matrix product is a `dot`, a `convolution` (which XLA for TPU makes of every
dot) or a call of oneDNN (which XLA for CPUs makes of some). One multiply-add
is two FLOPs. All numbers are those of one device, and count what is in a loop
as often as the loop turns.

Cycles are the compiler's own estimates, which it notes for TPUs with each
instruction but those that communicate; no one measured them.
"""

import collections
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
import dataclasses
import math
import re

from pax_softmoe.hlo import convolution
from pax_softmoe.hlo import graph
from pax_softmoe.hlo import module

# Scopes that JAX adds to the names of operations. The first of these tells in
# which pass an operation is.
_PASSES = {
    'rematted_computation': 'rematerialized',
    'transpose': 'backward',
    'jvp': 'forward',
}
_JAX_SCOPES = frozenset("""
    body branch_0_fun branch_1_fun checkpoint closed_call cond core_call
    custom_jvp_call custom_vjp_call custom_vjp_call_jaxpr main named pjit
    rematted_computation remat shard_map shmap_body while
""".split())


@dataclasses.dataclass(frozen=True)
class Cost:
  """What one instruction costs a device.

  Attributes:
    name: the name of the instruction.
    count: how often one run of the module runs it.
    each: FLOPs or cycles of one run.
    op_name: where it comes from, as 'jit(step)/jit(main)/ffn/dot_general'.
    source: the source line, as 'path/file.py:36'.
  """

  name: str
  count: int
  each: int
  op_name: str
  source: str

  @property
  def total(self) -> int:
    """FLOPs or cycles of all its runs."""
    return self.each * self.count


def matmuls(
    program: module.Module, unknown_trips: int | None = None
) -> list[Cost]:
  """Returns the FLOPs of each matrix product.

  Args:
    program: the module.
    unknown_trips: see `graph.executions`.

  Returns:
    One entry an instruction, products inside fusions among them.

  Raises:
    ValueError: see `graph.executions`.
  """
  return _costs(program, unknown_trips, _matmul_flops)


def matmul_flops(
    program: module.Module, unknown_trips: int | None = None
) -> int:
  """Returns the FLOPs of all matrix products on one device, see `matmuls`."""
  return sum(cost.total for cost in matmuls(program, unknown_trips))


def cycles(
    program: module.Module, unknown_trips: int | None = None
) -> list[Cost]:
  """Returns the estimated cycles of each instruction of a module for TPU.

  Collectives have none, nor have modules for other hardware. The sum over the
  list, divided by the clock, is the compiler's estimate of the time a step
  computes.

  Args:
    program: the module.
    unknown_trips: see `graph.executions`.

  Returns:
    One entry an instruction, fusions as a whole.

  Raises:
    ValueError: see `graph.executions`.
  """
  return _costs(program, unknown_trips, cycles_of)


def by_source(costs: Iterable[Cost]) -> Mapping[str, int]:
  """Returns totals by source line, the largest first."""
  return _grouped(costs, lambda cost: cost.source or 'unknown')


def by_layer(costs: Iterable[Cost]) -> Mapping[tuple[str, str], int]:
  """Returns totals by `layer_path` of what costs, the largest first."""
  return _grouped(costs, lambda cost: layer_path(cost.op_name))


def layer_path(op_name: str) -> tuple[str, str]:
  """Returns in which pass, and in which layer, an instruction is.

  Args:
    op_name: as `jit(step)/jit(main)/transpose(jvp(vit))/while/body/ffn/mul`.

  Returns:
    ('forward', 'backward', 'rematerialized' or 'other', the names of the layers
    without JAX's scopes, names of methods and that of the operation), here
    ('backward', 'vit/ffn'). What is outside of layers, as the optimizer, is
    ('other', '').
  """
  scopes, layers = set(), []
  # Parameters of operations may hold slashes; jax 0.4.26 prints them.
  for scope in re.sub(r'\[.*', '', op_name).split('/')[:-1]:
    while wrapped := re.fullmatch(r'(\w+)\((.*)\)', scope):
      scopes.add(wrapped[1])
      scope = '' if wrapped[1] in ('jit', 'pjit') else wrapped[2]
    scopes.add(scope)
    is_method = re.fullmatch(r'\w+\.[\w<>]+', scope)
    if scope and scope not in _JAX_SCOPES and not is_method:
      layers.append(scope)
  kinds = [kind for scope, kind in _PASSES.items() if scope in scopes]
  kinds.append('forward' if layers else 'other')
  return kinds[0], '/'.join(layers)


def _costs(
    program: module.Module,
    unknown_trips: int | None,
    cost: Callable[[module.Instruction], int | None],
) -> list[Cost]:
  """Returns the cost of each instruction that has one and runs."""
  runs = graph.executions(program, unknown_trips)
  costs = []
  for instruction in program.instructions:
    count = runs[instruction.computation]
    each = cost(instruction) if count else None
    if each is not None:
      costs.append(
          Cost(
              name=instruction.name,
              count=count,
              each=each,
              op_name=instruction.op_name,
              source=instruction.source,
          )
      )
  return costs


def _grouped(costs: Iterable[Cost], key: Callable[[Cost], object]) -> Mapping:
  totals = collections.Counter()
  for cost in costs:
    totals[key(cost)] += cost.total
  return dict(totals.most_common())


def _matmul_flops(instruction: module.Instruction) -> int | None:
  """Returns the FLOPs of an instruction, None if it is no matrix product."""
  if instruction.opcode == 'convolution':
    return convolution.flops(instruction)
  if instruction.opcode == 'dot':
    numbers = instruction.proto.dot_dimension_numbers
    contracted = numbers.lhs_contracting_dimensions
  elif instruction.proto.custom_call_target == '__onednn$matmul':
    config = instruction.backend_config['onednn_matmul_config']
    contracted = [-2 if config.get('transpose_a') else -1]
  else:
    return None
  left = instruction.operands[0].shapes[0]
  depth = math.prod(left.dims[d] for d in contracted)
  return 2 * instruction.shapes[0].elements * depth


def cycles_of(instruction: module.Instruction) -> int | None:
  """Returns the compiler's estimate of one run, None where it gives none."""
  noted = instruction.backend_config
  noted = noted.get('window_config', noted)
  cycles = noted.get('estimated_cycles')
  return None if cycles is None else int(cycles)
