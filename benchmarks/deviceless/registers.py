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

PALLAS_PREFIX = "fused_"  # of the kernels' names, see nn/lowering/fused_kernels.py
_ENTRY = re.compile(
    r"entry function '(\w+)'.*?(\d+) bytes spill stores.*?"
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
      multiply_adds: fused ones in the text of the kernel.
    """

    name: str
    registers: int
    spilled_bytes: int
    shared_bytes: int
    multiply_adds: int


def registers_of(folder: pathlib.Path, card: Card) -> list[Registers]:
    """Assembles the Pallas kernels among the PTX files of a folder.

    Args:
      folder: that of `--ptx`, with a folder for each program.
      card: that they were compiled for.

    Returns:
      What each kernel takes, in the order of the files; equal ones once.
    """
    found = {}
    for file in sorted(folder.rglob("*.ptx")):
        text = file.read_text()
        if re.search(rf"\.entry {PALLAS_PREFIX}", text):
            found |= dict.fromkeys(_assemble(file, text, card))
    return list(found)


def _assemble(file, text, card):
    major, minor = card.capability
    architecture = f"-arch=sm_{major}{minor}{'a' if major >= 9 else ''}"
    command = [_ptxas(), "-v", architecture, str(file), "-o", "/dev/null"]
    log = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    for name, spilled, registers, rest in _ENTRY.findall(log):
        shared = re.search(r"(\d+) bytes smem", rest)
        yield Registers(
            name=name.split("__")[0],  # without the number that tells equal names apart
            registers=int(registers),
            spilled_bytes=int(spilled),
            shared_bytes=int(shared[1]) if shared else 0,
            multiply_adds=text.count("fma.rn.f32"),
        )


def _ptxas() -> str:
    (folder,) = importlib.util.find_spec("nvidia").submodule_search_locations[:1]
    return str(next(pathlib.Path(folder).glob("*/bin/ptxas")))
