"""Decides when a search should end before it collapses, as RobustDARTS does.

Source: DARTS-ES of RobustDARTS (Zela et al., ICLR 2020), `EVLocalAvg` of its code, with
an eigenvalue every epoch.
"""

import dataclasses
import statistics
from collections.abc import Sequence
from typing import ClassVar

from egnas_jax.idle import Idle, check_idle
from egnas_jax.search.curvature import METHODS
from egnas_jax.settings import (
    LARGEST_FLOAT,
    LARGEST_INT,
    check_choices,
    check_field_types,
    check_ranges,
)


@dataclasses.dataclass(frozen=True)
class WatchConfig:
    """The watch for a collapse.

    Attributes:
      eigenvalue: of alpha's Hessian, every epoch: "off", "exact" (a product with the
        Hessian for each entry of alpha) or "lanczos" (a few tens of products).
      images: validation images of the loss, the same in every epoch.
      stop: end the search early by the rule, with an earlier epoch's genotype.
      window: epochs of a centred mean, an odd number.
      factor: growth of the mean that ends the search, at least 1.
      delta: epochs between the two means that are compared.
      start: first epoch, from 0, whose cell may be returned.

    Raises:
      ValueError: an unknown choice, a value of the wrong type or out of its range, a
        stop rule without eigenvalues, a number that has no effect, or an even window.
    """

    eigenvalue: str = "off"
    images: int = 64
    stop: bool = False
    window: int = 5
    factor: float = 1.3
    delta: int = 4
    start: int = 10

    idle: ClassVar = {
        "images": Idle("eigenvalue", ("off",)),
        **dict.fromkeys(("window", "factor", "delta", "start"), Idle("stop", (False,))),
    }

    def __post_init__(self):
        check_choices(self, {"eigenvalue": METHODS}, "watch.")
        check_ranges(self, _RANGES, "watch.")
        check_field_types(self, "watch.")
        if self.stop and self.eigenvalue == "off":
            raise ValueError(
                "watch.stop is true and watch.eigenvalue is off, but the rule needs "
                "eigenvalues. Set watch.eigenvalue=lanczos, or watch.stop=false."
            )
        if self.window % 2 == 0:
            raise ValueError(f"watch.window is {self.window}, but must be odd.")
        check_idle(self, "watch.")


_RANGES = {
    "images": (2, LARGEST_INT),
    "window": (1, LARGEST_INT),
    "delta": (1, LARGEST_INT),
    "start": (0, LARGEST_INT),
    "factor": (1.0, LARGEST_FLOAT),
}


def stop_epoch(eigenvalues: Sequence[float | None], watch: WatchConfig) -> int | None:
    """Returns the epoch whose cell the search should return now, or None to go on.

    With t the centre of the last complete window, the mean around t is compared with
    that around t - delta. If it has grown by more than the factor, the search should
    end and return the cell of epoch t - delta.

    Args:
      eigenvalues: of every epoch so far; a None in a window leaves it undecided.
      watch: the rule.
    """
    half = watch.window // 2
    now = len(eigenvalues) - 1 - half
    before = now - watch.delta
    if before < watch.start:
        return None
    means = []
    for centre in (before, now):
        # the first windows are cut off at epoch 0, as in the reference code
        values = eigenvalues[max(0, centre - half) : centre + half + 1]
        if any(value is None for value in values):
            return None
        means.append(statistics.fmean(values))
    # the reference code divides; without a positive mean there is no growth
    grown = means[0] > 0 and means[1] > watch.factor * means[0]
    return before if grown else None
