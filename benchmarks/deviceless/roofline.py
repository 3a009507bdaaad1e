"""Predicts the time of a kernel from what it moves and computes.

A kernel takes as long as the slowest of four limits: the card's memory, its L1 caches,
its float32 lanes, its matrix units. To that come a microsecond to begin and to drain,
and the host's time between launches where that is longer. No kernel reaches a peak; the
fractions below are what kernels of this sort usually reach. Everything that follows
from them is a prediction, which no measurement supports yet.
"""

from typing import NamedTuple

from benchmarks.deviceless.cards import Card
from benchmarks.deviceless.costs import Cost
from benchmarks.deviceless.kernels import Kernel

MEMORY_SHARE = 0.8  # of the bandwidth, as large copies reach it
L1_SHARE = 0.5  # reads of neighbouring taps are not aligned to cache lines
LANE_SHARE = 0.4  # a multiply and an add count as two here, and addresses as nothing
PRODUCT_SHARES = {"float32": 0.67, "default": 0.5, "bfloat16": 0.4}
L1_BYTES_PER_CLOCK = 128  # of a multiprocessor, on all three generations
TAIL_S = 1e-6  # a kernel's first and last blocks do not fill the card
LAUNCH_S = 4e-6  # between two kernels that the host launches
GRAPH_LAUNCH_S = 2e-6  # between two kernels of a CUDA graph
LIMITS = ("memory", "L1", "arithmetic", "products")


class Rates(NamedTuple):
    """What kernels reach on a card.

    Attributes:
      bytes_per_s, l1_bytes_per_s: of its memory, and of all L1 caches together.
      operations_per_s: scalar operations.
      products_per_s: operations of matrix products by precision (`rows.PRECISIONS`).
    """

    bytes_per_s: float
    l1_bytes_per_s: float
    operations_per_s: float
    products_per_s: dict[str, float]


def rates_of(card: Card) -> Rates:
    """Derives from the peaks of a card what kernels reach."""
    clocks = card.multiprocessors * card.clock_hz
    return Rates(
        bytes_per_s=MEMORY_SHARE * card.memory_bytes_per_s,
        l1_bytes_per_s=L1_SHARE * L1_BYTES_PER_CLOCK * clocks,
        operations_per_s=LANE_SHARE * card.lanes * clocks,
        products_per_s={
            name: PRODUCT_SHARES[name] * peak
            for name, peak in card.products_per_s.items()
        },
    )


def limits_s(rates: Rates, cost: Cost, precision: str) -> tuple[float, ...]:
    """Seconds that each of `LIMITS` alone would allow a kernel.

    Args:
      rates: of the card.
      cost: of one launch.
      precision: of products of float32, a key of `rows.PRECISIONS`.
    """
    if cost.product_dtype in ("bf16", "f16"):
        precision = "bfloat16"
    return (
        cost.bytes / rates.bytes_per_s,
        cost.l1_bytes / rates.l1_bytes_per_s,
        cost.operations / rates.operations_per_s,
        cost.products / rates.products_per_s[precision],
    )


def kernel_s(rates: Rates, kernel: Kernel, precision: str) -> float:
    """Predicted seconds of one launch of a kernel; arguments: see `limits_s`."""
    busy = max(limits_s(rates, kernel.cost, precision)) + TAIL_S
    return max(busy, GRAPH_LAUNCH_S if kernel.in_graph else LAUNCH_S)


def limit_of(rates: Rates, kernel: Kernel, precision: str) -> str:
    """Names what bounds a kernel: one of `LIMITS`, or "launch"."""
    seconds = limits_s(rates, kernel.cost, precision)
    if max(seconds) + TAIL_S < kernel_s(rates, kernel, precision):
        return "launch"
    return LIMITS[seconds.index(max(seconds))]
