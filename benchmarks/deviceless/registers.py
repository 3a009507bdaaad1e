"""Reads what the Pallas kernels of a program take of a multiprocessor.

XLA writes the PTX of the program, and ptxas, from the wheels of the extra `bench-gpu`,
says what it needs.
"""

import importlib.util
import pathlib
import re
import subprocess
from typing import NamedTuple

from benchmarks.deviceless.cards import Card

_ENTRY = re.compile(
    r"entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores.*?"
    r"Used (\d+) registers([^\n]*)",
    re.DOTALL,
)


class Registers(NamedTuple):
    """What one thread or block of a kernel takes.

    Attributes:
      name: of the kernel.
      registers: of a thread, 255 at most.
      spilled_bytes: of a thread, stored because it has too few registers.
      shared_bytes: of a block.
      multiply_adds: instructions in the text of the kernel.
    """

    name: str
    registers: int
    spilled_bytes: int
    shared_bytes: int
    multiply_adds: int


def registers_of(folder: pathlib.Path, card: Card) -> list[Registers]:
    """Assembles the PTX files of a folder, which XLA's `xla_dump_to` wrote."""
    found = []
    for file in sorted(folder.glob("*.ptx")):
        text = file.read_text()
        if ".version" in text:  # a module without kernels is empty
            found += _assemble(file, text, card)
    return found


def _assemble(file, text, card):
    major, minor = card.capability
    suffix = "a" if major >= 9 else ""
    command = [_ptxas(), "-v", f"-arch=sm_{major}{minor}{suffix}", str(file)]
    log = subprocess.run(
        [*command, "-o", "/dev/null"], check=True, capture_output=True, text=True
    ).stderr
    for name, _, spilled, registers, rest in _ENTRY.findall(log):
        shared = re.search(r"(\d+) bytes smem", rest)
        body = text[text.index(f".entry {name}(") :]
        body = body[: body.index("\n}")]
        yield Registers(
            name=name,
            registers=int(registers),
            spilled_bytes=int(spilled),
            shared_bytes=int(shared[1]) if shared else 0,
            multiply_adds=body.count("fma.rn.f32"),
        )


def _ptxas() -> str:
    (folder,) = importlib.util.find_spec("nvidia").submodule_search_locations[:1]
    return str(next(pathlib.Path(folder).glob("*/bin/ptxas")))
