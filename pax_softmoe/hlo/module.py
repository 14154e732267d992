"""A compiled program as XLA itself serialises it, with its links followed.

    program = module.of(jax.jit(f).lower(…).compile())
    program.entry.root.operands[0].opcode

Shapes are those of one device. What counts how often is in `graph`, what
crosses chips in `collectives`, what is computed in `costs`. Read by XLA's own
messages, as TensorFlow has them; jaxlib for CPUs and libtpu both give it.
"""

from collections.abc import Sequence
import dataclasses
import functools
import json
import math
import re
from typing import Any

import jax
from jax import numpy as jnp
import numpy as np
from tensorflow.compiler.xla import xla_data_pb2
from tensorflow.compiler.xla.service import hlo_pb2

# Numbers that XLA writes as bytes, where zero has a sign.
_BYTES = {'bf16': jnp.bfloat16, 'f16': np.float16}
_BITS = re.compile(r'[a-z]+?(\d+)')


@dataclasses.dataclass(frozen=True)
class Shape:
  """An array on one device.

  Attributes:
    dtype: XLA's name, as 'bf16', 'f32', 'pred'.
    dims: its dimensions; of a bounded dynamic one the bound.
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


@dataclasses.dataclass(frozen=True, eq=False)
class Instruction:
  """One operation of a computation.

  Attributes:
    proto: XLA's message.
    computation: the one it is in.
  """

  proto: Any
  computation: 'Computation'

  @property
  def name(self) -> str:
    return self.proto.name

  @property
  def opcode(self) -> str:
    """What it does, as 'dot', 'fusion', 'all-gather-start'."""
    return self.proto.opcode

  @property
  def is_root(self) -> bool:
    return self is self.computation.root

  @functools.cached_property
  def shapes(self) -> tuple[Shape, ...]:
    """The arrays it makes, on one device; those of a tuple in order."""
    return tuple(_shapes(self.proto.shape))

  @functools.cached_property
  def operands(self) -> tuple['Instruction', ...]:
    """What it reads."""
    by_id = self.computation.by_id
    return tuple(by_id[i] for i in self.proto.operand_ids)

  @functools.cached_property
  def called(self) -> tuple['Computation', ...]:
    """The computations it runs; of a loop its body, then its condition."""
    by_id = self.computation.module.by_id
    return tuple(by_id[i] for i in self.proto.called_computation_ids)

  @property
  def op_name(self) -> str:
    """Where it comes from, as 'jit(step)/jit(main)/ffn/dot_general', or ''."""
    return self.proto.metadata.op_name

  @property
  def source(self) -> str:
    """The source line as 'path/file.py:36', or ''."""
    metadata = self.proto.metadata
    if metadata.source_file:
      return f'{metadata.source_file}:{metadata.source_line}'
    # Newer versions of XLA number places, in tables of the whole program.
    frame = getattr(metadata, 'stack_frame_id', 0)
    return self.computation.module.source_of(frame) if frame else ''

  @property
  def integer(self) -> int | None:
    """The value of a constant that is one whole number; None of others."""
    literal = self.proto.literal
    values = [*literal.s32s, *literal.s64s, *literal.u32s, *literal.u64s]
    return values[0] if len(values) == 1 else None

  @property
  def is_zero(self) -> bool:
    """Whether it is a constant of one number, and that is zero."""
    if self.opcode != 'constant' or self.shapes[0].dims:
      return False
    (values,) = (
        value
        for field, value in self.proto.literal.ListFields()
        if field.name != 'shape'
    )
    if isinstance(values, bytes):
      dtype = _BYTES.get(self.shapes[0].dtype, np.uint8)
      values = np.frombuffer(values, dtype)
    return not any(values)

  @functools.cached_property
  def backend_config(self) -> dict[str, Any]:
    """What the compiler notes for itself, from JSON; {} without it."""
    try:
      found = json.loads(self.proto.backend_config)
    except ValueError:
      return {}  # There is none, or a text.
    return found if isinstance(found, dict) else {}


@dataclasses.dataclass(frozen=True, eq=False)
class Computation:
  """Instructions in the order in which they stand.

  Attributes:
    proto: XLA's message.
    module: the one it is in.
  """

  proto: Any
  module: 'Module'

  @property
  def name(self) -> str:
    return self.proto.name

  @functools.cached_property
  def by_id(self) -> dict[int, Instruction]:
    return {i.id: Instruction(i, self) for i in self.proto.instructions}

  @property
  def instructions(self) -> Sequence[Instruction]:
    return tuple(self.by_id.values())

  @property
  def scheduled(self) -> Sequence[Instruction]:
    """The instructions in the order in which a device runs them."""
    sequences = self.module.proto.schedule.sequences
    if self.proto.id not in sequences:
      return self.instructions
    order = sequences[self.proto.id].instruction_ids
    return tuple(self.by_id[i] for i in order)

  @property
  def root(self) -> Instruction:
    """What it returns."""
    return self.by_id[self.proto.root_id]

  @property
  def callers(self) -> Sequence[Instruction]:
    """The instructions that run it."""
    return self.module.callers[self]

  def users(self, read: Instruction) -> list[Instruction]:
    """Returns the instructions that read one of its own."""
    return [i for i in self.instructions if read in i.operands]


@dataclasses.dataclass(frozen=True, eq=False)
class Module:
  """A compiled program.

  Attributes:
    proto: XLA's message.
    num_devices: that it runs on.
  """

  proto: Any
  num_devices: int

  @property
  def name(self) -> str:
    return self.proto.name

  @functools.cached_property
  def by_id(self) -> dict[int, Computation]:
    return {c.id: Computation(c, self) for c in self.proto.computations}

  @property
  def computations(self) -> Sequence[Computation]:
    return tuple(self.by_id.values())

  @property
  def entry(self) -> Computation:
    """The computation that runs first."""
    return self.by_id[self.proto.entry_computation_id]

  @property
  def instructions(self) -> list[Instruction]:
    """All of all computations."""
    return [i for c in self.computations for i in c.instructions]

  def source_of(self, frame: int) -> str:
    """Returns the source line of a frame in the program's tables, from 1."""
    tables = self.proto.stack_frame_index
    place = tables.stack_frames[frame - 1].file_location_id
    location = tables.file_locations[place - 1]
    file = tables.file_names[location.file_name_id - 1]
    return f'{file}:{location.line}'

  @functools.cached_property
  def callers(self) -> dict[Computation, list[Instruction]]:
    """Of each computation, the instructions that run it."""
    callers = {computation: [] for computation in self.computations}
    for instruction in self.instructions:
      for computation in instruction.called:
        callers[computation].append(instruction)
    return callers


def of(compiled: Any) -> Module:
  """Returns the program of what `jax.jit(…).lower(…).compile()` returns."""
  (module,) = compiled.runtime_executable().hlo_modules()
  shardings = jax.tree_util.tree_leaves(
      (compiled.input_shardings, compiled.output_shardings)
  )
  num_devices = max(len(sharding.device_set) for sharding in shardings)
  return parse(module.as_serialized_hlo_module_proto(), num_devices)


def parse(serialized: bytes, num_devices: int) -> Module:
  """Returns the program of a serialised HloModuleProto."""
  return Module(hlo_pb2.HloModuleProto.FromString(serialized), num_devices)


def _shapes(shape: Any) -> list[Shape]:
  if shape.element_type == xla_data_pb2.TUPLE:
    return [leaf for part in shape.tuple_shapes for leaf in _shapes(part)]
  dtype = xla_data_pb2.PrimitiveType.Name(shape.element_type).lower()
  return [Shape(dtype, tuple(shape.dimensions))]
