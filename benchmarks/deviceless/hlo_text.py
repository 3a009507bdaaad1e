"""Reads the text of optimised HLO into computations of instructions.

The text is that of `compiled.as_text()`: one instruction a line, computations in
braces, the entry computation marked ENTRY. What is read is what costs.py and kernels.py
need; everything else of a line is kept as the text of its attributes.
"""

import math
import re
from typing import NamedTuple

ITEM_BYTES = {"pred": 1, "token": 0} | {
    f"{kind}{bits}": -(-bits // 8)
    for kind, widths in {
        "s": (2, 4, 8, 16, 32, 64),
        "u": (2, 4, 8, 16, 32, 64),
        "f": (16, 32, 64),
        "bf": (16,),
        "c": (64, 128),
    }.items()
    for bits in widths
}
_SHAPE = re.compile(r"\b([a-z]+\d*)\[([\d,]*)\](?:\{([\d,]*))?")
_INSTRUCTION = re.compile(r"\s+(ROOT )?%?([\w.\-]+) = (.*)")
_OPCODE = re.compile(r"\s*([\w\-]+)\(")
_COMMENT = re.compile(r"/\*.*?\*/")


class Shape(NamedTuple):
    """The shape of an array.

    Attributes:
      dtype: as HLO writes it, such as "bf16".
      dims: its sizes.
      layout: its axes, innermost in memory first.
    """

    dtype: str
    dims: tuple[int, ...]
    layout: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.dims)

    @property
    def bytes(self) -> int:
        """Bytes without padding; a type that is not known counts as four bytes."""
        return self.size * ITEM_BYTES.get(self.dtype, 4)


class Instruction(NamedTuple):
    """One line of HLO.

    Attributes:
      name: without the percent sign.
      opcode: such as "fusion".
      shapes: of the result; several of a tuple, nested tuples flattened.
      operands: names of instructions of the same computation.
      attributes: the text behind the operands.
      is_root: whether it is the result of its computation.
    """

    name: str
    opcode: str
    shapes: tuple[Shape, ...]
    operands: tuple[str, ...]
    attributes: str
    is_root: bool

    @property
    def bytes(self) -> int:
        """Bytes of the result."""
        return sum(shape.bytes for shape in self.shapes)

    def attribute(self, pattern: str) -> str | None:
        """The first group of a regular expression in the attributes, or None."""
        match = re.search(pattern, self.attributes)
        return match and match.group(1)


Computation = dict[str, Instruction]  # by name, in the order of the schedule


class Module(NamedTuple):
    """A compiled program.

    Attributes:
      computations: by name.
      entry: name of the computation that runs first.
    """

    computations: dict[str, Computation]
    entry: str


def read_module(text: str) -> Module:
    """Reads a module.

    Args:
      text: of `compiled.as_text()`.

    Raises:
      ValueError: the text has no entry computation.
    """
    computations, current, entry = {}, {}, None
    for line in text.splitlines():
        if line.endswith("{") and "->" in line and not line.startswith(" "):
            name = re.match(r"(?:ENTRY )?%?([\w.\-]+)", line).group(1)
            current = computations[name] = {}
            if line.startswith("ENTRY"):
                entry = name
        elif (match := _INSTRUCTION.match(line)) and (
            instruction := _instruction(*match.groups())
        ):
            current[instruction.name] = instruction
    if entry is None:
        raise ValueError(
            "The text has no line that begins with ENTRY, so it is no HLO module. "
            "Pass the text of `compiled.as_text()`."
        )
    return Module(computations, entry)


def _instruction(root: str | None, name: str, right: str) -> Instruction | None:
    """Reads what stands on the right of `name =`; None if it is no instruction."""
    right = _COMMENT.sub("", right)
    end = _closing(right, 0) + 1 if right.startswith("(") else right.find(" ")
    opcode = _OPCODE.match(right, end)
    if opcode is None:
        return None
    close = _closing(right, opcode.end() - 1)
    operands = right[opcode.end() : close]
    attributes = right[close + 1 :]
    if opcode.group(1) == "parameter":  # its operand is a number
        attributes = f", number={operands}{attributes}"
    return Instruction(
        name=name,
        opcode=opcode.group(1),
        shapes=_shapes(right[:end]),
        operands=tuple(re.findall(r"%([\w.\-]+)", operands)),
        attributes=attributes,
        is_root=root is not None,
    )


def _shapes(text: str) -> tuple[Shape, ...]:
    return tuple(
        Shape(dtype, _numbers(dims), _numbers(layout))
        for dtype, dims, layout in _SHAPE.findall(text)
    )


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(",") if number)


def _closing(text: str, start: int) -> int:
    """Position of the bracket that closes the one at `start`."""
    depth = 0
    for position in range(start, len(text)):
        depth += (text[position] in "([{") - (text[position] in ")]}")
        if depth == 0:
            return position
    return len(text)
