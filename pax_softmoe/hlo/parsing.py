"""Reads the text of a compiled XLA module, `compiled.as_text()`.

The text holds computations of one instruction a line:

    %body (p: (s32[], f32[8,256])) -> (s32[], f32[8,256]) {
      %x = f32[8,256]{1,0} get-tuple-element(%p), index=1
      ROOT %dot.1 = f32[8,256]{1,0} dot(%x, %w), lhs_contracting_dims={1},
          metadata={op_name="jit(f)/dot_general" source_line=36}
    }

Shapes are those of one device. Nothing here needs JAX: what counts how often is
in `hlo_graph`, what crosses chips in `collectives`, what is computed in
`hlo_cost`. Written for what jaxlib 0.4.26 and 0.5.3 print on the CPU, and
libtpu 0.0.11.4 for TPU v4.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import functools
import math
import re

from pax_softmoe.hlo import shapes

_COMPUTATION = re.compile(r'(ENTRY )?%([\w.\-]+) \(.*\{\s*$')
_INSTRUCTION = re.compile(r'\s+(ROOT )?%([\w.\-]+) = ')
_CALLS = re.compile(
    r', (calls|to_apply|body|condition|branch_computations|true_computation'
    r'|false_computation|called_computations)=(\{[^}]*\}|%[\w.\-]+)'
)
_NAME = re.compile(r'%([\w.\-]+)')


@dataclasses.dataclass(frozen=True, eq=False)
class Instruction:
  """One line of a computation.

  Attributes:
    name: its name, without the percent sign.
    opcode: what it does, as 'dot', 'fusion', 'all-gather-start'.
    computation: the name of the computation it is in.
    is_root: whether it is what its computation returns.
    shape_text: its shape, with layout.
    operand_text: what stands between its parentheses; of a constant the value,
      of a parameter its number.
    attribute_text: the rest of the line, from the first comma on.
  """

  name: str
  opcode: str
  computation: str
  is_root: bool
  shape_text: str
  operand_text: str
  attribute_text: str

  @functools.cached_property
  def shapes(self) -> tuple[shapes.Shape, ...]:
    """The arrays it makes, on one device."""
    return shapes.parse(self.shape_text)

  @functools.cached_property
  def operands(self) -> tuple[str, ...]:
    """Names of the instructions that it reads."""
    if self.opcode in ('constant', 'parameter'):
      return ()
    return tuple(_NAME.findall(self.operand_text))

  @functools.cached_property
  def calls(self) -> tuple[tuple[str, str], ...]:
    """Pairs of a role ('body', 'calls', …) and a computation's name."""
    return tuple(
        (role, name)
        for role, names in _CALLS.findall(self._plain_attributes)
        for name in _NAME.findall(names)
    )

  def called(self, role: str) -> str | None:
    """Returns the computation called in that role, or None."""
    return next((name for r, name in self.calls if r == role), None)

  @functools.cached_property
  def _plain_attributes(self) -> str:
    # Metadata and backend_config come last and hold free text.
    text = self.attribute_text.partition(', metadata={')[0]
    return text.partition(', backend_config=')[0]

  def attribute(self, key: str) -> str | None:
    """Returns an attribute as written, as '{{0,1},{2,3}}'; None without it."""
    found = re.search(rf', {key}=', self._plain_attributes)
    if not found:
      return None
    rest = self._plain_attributes[found.end() :]
    if rest.startswith('{'):
      return rest[: _closing(rest, 0) + 1]
    # A comma within brackets, as in `[4,2]<=[2,4]T(1,0)`, does not end it.
    return re.match(r'(?:\[[^\]]*\]|\([^)]*\)|[^,\s])*', rest)[0]

  def integers(self, key: str) -> tuple[int, ...]:
    """Returns the numbers of a list attribute, as `dimensions={0,2}`."""
    return tuple(int(n) for n in re.findall(r'\d+', self.attribute(key) or ''))

  def backend_number(self, key: str) -> int | None:
    """Returns a number from `backend_config`, as of 'estimated_cycles'.

    Numbers may be strings, be an object `{"n": …}`, and the configuration may
    itself be a quoted string: all are read.
    """
    found = re.search(
        rf'"{key}\\?":\s*(?:\{{\\?"n\\?":\s*)?\\?"?(\d+)', self.attribute_text
    )
    return int(found[1]) if found else None

  @functools.cached_property
  def op_name(self) -> str:
    """Where it comes from, as 'jit(step)/jit(main)/ffn/dot_general', or ''."""
    found = re.search(r'op_name="((?:[^"\\]|\\.)*)"', self.attribute_text)
    return found[1] if found else ''

  @functools.cached_property
  def source(self) -> str:
    """The source line as 'path/file.py:36', or ''."""
    found = re.search(
        r'source_file="([^"]*)"(?: source_line=(\d+))?', self.attribute_text
    )
    return f'{found[1]}:{found[2] or 0}' if found else ''


@dataclasses.dataclass(frozen=True, eq=False)
class Computation:
  """Instructions by name, in the order of the text.

  Attributes:
    name: its name, without the percent sign.
    instructions: all of them.
    root: the one it returns.
  """

  name: str
  instructions: Mapping[str, Instruction]
  root: Instruction

  def parameter(self, number: int) -> Instruction | None:
    """Returns its parameter of that number."""
    for instruction in self.instructions.values():
      if instruction.opcode == 'parameter':
        if int(instruction.operand_text) == number:
          return instruction
    return None


@dataclasses.dataclass(frozen=True, eq=False)
class Module:
  """A compiled program.

  Attributes:
    name: its name, as 'jit_step'.
    num_devices: partitions x replicas.
    computations: all computations by name.
    entry: the computation that runs first.
  """

  name: str
  num_devices: int
  computations: Mapping[str, Computation]
  entry: Computation

  @functools.cached_property
  def callers(self) -> Mapping[str, Sequence[tuple[Instruction, str]]]:
    """Of each computation, who calls it and in which role."""
    callers = {name: [] for name in self.computations}
    for instruction in self.instructions():
      for role, name in instruction.calls:
        callers[name].append((instruction, role))
    return callers

  def instructions(self) -> list[Instruction]:
    """Returns all instructions of all computations."""
    return [
        instruction
        for computation in self.computations.values()
        for instruction in computation.instructions.values()
    ]

  def operand(self, instruction: Instruction, number: int) -> Instruction:
    """Returns the instruction that makes an operand."""
    computation = self.computations[instruction.computation]
    return computation.instructions[instruction.operands[number]]

  def operands(self, instruction: Instruction) -> list[Instruction]:
    """Returns the instructions that make its operands."""
    instructions = self.computations[instruction.computation].instructions
    return [instructions[name] for name in instruction.operands]


def parse(text: str) -> Module:
  """Reads a module.

  Args:
    text: what `compiled.as_text()` returns.

  Returns:
    The module.

  Raises:
    ValueError: the text is no HLO module, or a line cannot be read.
  """
  header = re.match(r'\s*HloModule ([\w.\-]+)(.*)', text)
  if not header:
    raise ValueError(
        f'not the text of an HLO module: it starts with {text[:60]!r}; give'
        ' what compiled.as_text() returns'
    )
  sizes = re.findall(r'\b(?:num_partitions|replica_count)=(\d+)', header[2])
  computations, entry = {}, None
  name, instructions, root = None, {}, None
  for line in text.splitlines():
    if name is None:
      # Between computations there may be tables of file and function names.
      start = _COMPUTATION.match(line)
      if start:
        name, instructions, root = start[2], {}, None
        entry = name if start[1] else entry
    elif line.startswith('}'):
      if root is None:
        raise ValueError(f'HLO computation {name} has no ROOT instruction')
      computations[name] = Computation(name, instructions, root)
      name = None
    elif line.strip():
      instruction = _parse_instruction(line, name)
      instructions[instruction.name] = instruction
      root = instruction if instruction.is_root else root
  if entry not in computations:
    raise ValueError(
        f'HLO module {header[1]} has no complete ENTRY computation'
    )
  return Module(
      name=header[1],
      num_devices=math.prod(int(size) for size in sizes),
      computations=computations,
      entry=computations[entry],
  )


def _parse_instruction(line: str, computation: str) -> Instruction:
  """Returns the instruction of a line."""
  start = _INSTRUCTION.match(line)
  try:
    begin = start.end()
    # A tuple's shape has spaces and parentheses, an array's has no spaces.
    is_tuple = line[begin] == '('
    end = _closing(line, begin) + 1 if is_tuple else line.index(' ', begin)
    opening = line.index('(', end)
    closing = _closing(line, opening)
  except (AttributeError, IndexError, ValueError) as e:
    raise ValueError(
        f'cannot read this line of HLO computation {computation}:'
        f' {line.strip()[:200]!r}'
    ) from e
  return Instruction(
      name=start[2],
      opcode=line[end:opening].strip(),
      computation=computation,
      is_root=bool(start[1]),
      shape_text=line[begin:end],
      operand_text=line[opening + 1 : closing],
      attribute_text=line[closing + 1 :],
  )


_BRACKETS = {
    pair[0]: (re.compile('[' + re.escape(pair) + ']'), pair[0])
    for pair in ('()', '{}')
}


def _closing(text: str, start: int) -> int:
  """Returns where the bracket that opens at `start` closes."""
  pattern, opening = _BRACKETS[text[start]]
  depth = 0
  for found in pattern.finditer(text, start):
    depth += 1 if found[0] == opening else -1
    if depth == 0:
      return found.start()
  raise ValueError(f'unbalanced brackets in {text[start : start + 60]!r}')
