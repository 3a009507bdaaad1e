"""Adds up what the kernels of a compiled program move, compute and take.

All numbers are those of one step of the program, except the sizes of the program
itself. Seconds follow from the roofline: they are predictions.
"""

from collections import defaultdict

from benchmarks.deviceless.compile import Compiled
from benchmarks.deviceless.hlo_text import read_module
from benchmarks.deviceless.kernels import Kernel, Program, list_kernels
from benchmarks.deviceless.pallas_cost import CALL_KIND
from benchmarks.deviceless.request import Request
from benchmarks.deviceless.roofline import Rates, kernel_s, limit_of

TRANSPOSE, CUDNN = "transpose", "cudnn"


def prediction(
    compiled: Compiled, request: Request, rates: Rates, precision: str
) -> dict:
    """Describes a compiled program and predicts its speed.

    Args:
      compiled: the program.
      request: what it was compiled from.
      rates: of the card.
      precision: of products of float32, a key of `rows.PRECISIONS`.

    Returns:
      - "trace_s", "compile_s", "temporary_bytes", "reserved_bytes": of `Compiled`;
      - "kernels": in the program; "launches", "graph_launches" (those of a CUDA graph),
        "turns" (of loops): of one step; "unknown_loops": whose turns count as one;
      - "bytes", "least_bytes", "l1_bytes", "operations", "products": of one step;
      - "ms", "cudnn_ms" and "launch_ms" (the part of kernels that a launch bounds),
        "images_per_s": predicted;
      - "memory_share", "product_share": the least time that the memory and the matrix
        units of the card allow, over the predicted time; None where it is not counted;
      - "kinds": kind of kernel -> its part; "heaviest": kernels, the slowest first.
    """
    module = read_module(compiled.text)
    program = list_kernels(module, in_graphs=compiled.in_graphs)
    kernels = [kernel for kernel in program.kernels if kernel.kind != CALL_KIND]
    calls = [kernel for kernel in program.kernels if kernel.kind == CALL_KIND]
    in_graph = all(call.in_graph for call in calls)
    kernels += [kernel._replace(in_graph=in_graph) for kernel in compiled.pallas]
    lines = [_line(kernel, rates, precision, request.steps) for kernel in kernels]
    total = _sum(lines)
    seconds = total["ms"] / 1e3
    return {
        "trace_s": compiled.trace_s,
        "compile_s": compiled.compile_s,
        "temporary_bytes": compiled.temporary_bytes,
        "reserved_bytes": compiled.reserved_bytes,
        **total,
        **_loops(program, request.steps),
        "cudnn_ms": sum(line["ms"] for line in lines if CUDNN in line["kind"]),
        "launch_ms": sum(line["ms"] for line in lines if line["limit"] == "launch"),
        "images_per_s": request.images / seconds,
        **_shares(request, rates, precision, seconds),
        "kinds": _by_kind(lines),
        "heaviest": sorted(lines, key=lambda line: -line["ms"])[:20],
    }


def _line(kernel: Kernel, rates: Rates, precision: str, steps: int) -> dict:
    """One kernel, with everything multiplied by its launches in a step."""
    launches, cost = kernel.launches / steps, kernel.cost
    return {
        "name": kernel.name,
        "kind": kernel.kind,
        "source": kernel.source,
        "limit": limit_of(rates, kernel, precision),
        "launches": launches,
        "graph_launches": launches * kernel.in_graph,
        "bytes": launches * cost.bytes,
        "l1_bytes": launches * cost.l1_bytes,
        "operations": launches * cost.operations,
        "products": launches * cost.products,
        "ms": 1e3 * launches * kernel_s(rates, kernel, precision),
    }


SUMMED = (
    "launches",
    "graph_launches",
    "bytes",
    "l1_bytes",
    "operations",
    "products",
    "ms",
)


def _sum(lines: list[dict]) -> dict:
    return {"kernels": len(lines)} | {
        key: sum(line[key] for line in lines) for key in SUMMED
    }


def _by_kind(lines: list[dict]) -> dict[str, dict]:
    """Kind -> sums over its kernels, the kind that takes longest first."""
    groups = defaultdict(list)
    for line in lines:
        groups[line["kind"]].append(line)
    kinds = {kind: _sum(group) for kind, group in groups.items()}
    return dict(sorted(kinds.items(), key=lambda item: -item[1]["ms"]))


def _loops(program: Program, steps: int) -> dict:
    return {"turns": program.turns / steps, "unknown_loops": program.unknown_loops}


def _shares(request: Request, rates: Rates, precision: str, seconds: float) -> dict:
    """Shares of the limits, by what a step has to move and to compute."""
    shares = {"least_bytes": None, "memory_share": None, "product_share": None}
    if request.bytes is not None:
        shares["least_bytes"] = request.bytes
        shares["memory_share"] = request.bytes / rates.bytes_per_s / seconds
    if request.multiply_adds is not None:
        least = 2 * request.multiply_adds / rates.products_per_s[precision]
        shares["product_share"] = least / seconds
    return shares
