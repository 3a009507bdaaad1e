"""Reads which kernels of a compiled program CUDA graphs launch.

XLA puts kernels into graphs after it has optimised the program, so its HLO does not say
so. The files that it writes on request do: one lists what is launched, indented below
the graph or loop that launches it, and another has the instruction of every entry.
"""

import pathlib
import re

SEQUENCE = ".thunk_sequence_after_thunk_passes.txt"  # behind the name of a program
INSTRUCTIONS = ".thunk_metadata.txt"
GRAPH = "kCommandBuffer"
_LINE = re.compile(r"^( *)(\d+): (k\w+)", re.MULTILINE)
_INSTRUCTION = re.compile(r'profile_annotation: "([^"]+)"\s+thunk_id: (\d+)')


def kernels_in_graphs(folder: pathlib.Path) -> frozenset[str]:
    """The instructions whose kernels CUDA graphs launch.

    Args:
      folder: where `xla_dump_to` pointed while one program compiled.

    Returns:
      Names of instructions; none where this version of XLA writes no such files.
    """
    names = set[str]()
    for file in folder.glob(f"*{SEQUENCE}"):
        launched = _launched_by_graphs(file.read_text())
        beside = file.with_name(file.name.replace(SEQUENCE, INSTRUCTIONS))
        instructions = _INSTRUCTION.findall(beside.read_text())
        names |= {name for name, number in instructions if int(number) in launched}
    return frozenset(names)


def _launched_by_graphs(sequence: str) -> set[int]:
    """The numbers of all entries that stand below a graph."""
    numbers, graph = set(), None  # the indentation of the graph around a line
    for indentation, number, kind in _LINE.findall(sequence):
        depth = len(indentation)
        if graph is not None and depth <= graph:
            graph = None
        if graph is not None:
            numbers.add(int(number))
        elif kind == GRAPH:
            graph = depth
    return numbers
