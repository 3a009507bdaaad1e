"""Names the limits that a search keeps, and the network that they are of."""

import dataclasses

from egnas_jax.nn.cell_plan import LARGEST_SIZES
from egnas_jax.nn.edge_costs import CountedNetwork
from egnas_jax.nn.network_config import FRAMES
from egnas_jax.nn.network_cost import published_network
from egnas_jax.settings import check_choices, check_ranges
from egnas_jax.space import Space

NANOSECONDS = 1e6  # of a millisecond
LARGEST_COST = 1e15  # costs in compiled code have two parts, see `EdgeCosts.over`
LIMITS = ("params", "multiply_adds", "latency_ms")


@dataclasses.dataclass(frozen=True)
class Limit:
    """Limits of the network that would be trained of a cell; None: no limit.

    Attributes:
      params: number of its weights.
      multiply_adds: of one image.
      latency_ms: of one batch on this device, milliseconds, by `latencies`.
      channels, layers, frame: of that network; None: as the recipe named after the
        data set of the preset has them (`search_config`), else as the published tables.
      image_size, image_channels: side and channels of its images; None: of the data of
        the search, else 32 and 3.
      batch_size: images of a batch whose latency is meant.
      latencies: nanoseconds of the rest of the network, and of each primitive of each
        edge, G E K numbers in that order; None: the table of this device is read, or
        measured first, when the search is set up.

    Raises:
      ValueError: a number out of its range, or an unknown frame.
    """

    params: float | None = None
    multiply_adds: float | None = None
    latency_ms: float | None = None
    channels: int | None = None
    layers: int | None = None
    frame: str | None = None
    image_size: int | None = None
    image_channels: int | None = None
    batch_size: int = 1
    latencies: tuple[int, ...] | None = None

    def __post_init__(self):
        if self.latencies is not None:  # JSON has lists for tuples
            object.__setattr__(self, "latencies", tuple(self.latencies))
        least = 1 / NANOSECONDS
        ranges = {
            "params": (1, LARGEST_COST),
            "multiply_adds": (1, LARGEST_COST),
            "latency_ms": (least, LARGEST_COST / NANOSECONDS),
            "channels": (1, LARGEST_SIZES["channels"]),
            "layers": (1, LARGEST_SIZES["layers"]),
            **dict.fromkeys(("image_size", "image_channels", "batch_size"), (1, 10**6)),
        }
        check_ranges(self, ranges, "strategy.limit.")
        for name in ("params", "multiply_adds"):
            value = getattr(self, name)
            if value is not None and value != int(value):
                raise ValueError(
                    f"strategy.limit.{name} is {value}, but must be a whole number."
                )
        if self.frame is not None:
            check_choices(self, {"frame": tuple(FRAMES)}, "strategy.limit.")

    @property
    def largest(self) -> dict[str, int]:
        """Name -> the largest cost that is allowed: a whole number, see `edge_costs`.

        Latencies are in nanoseconds.
        """
        values = {name: getattr(self, name) for name in LIMITS}
        units = {"latency_ms": NANOSECONDS}
        return {
            name: int(value * units.get(name, 1))
            for name, value in values.items()
            if value is not None
        }

    @property
    def is_set(self) -> bool:
        """Whether there is any limit."""
        return bool(self.largest)

    def network(self, space: Space, num_classes: int) -> CountedNetwork:
        """Returns the network that the limits are of.

        Args:
          space: of the cells; its macro structure decides what None stands for.
          num_classes: of the data.
        """
        sizes = {
            name: value
            for name in ("channels", "layers", "frame")
            if (value := getattr(self, name)) is not None
        }
        sizes |= {"num_classes": num_classes, "auxiliary": False}
        config = published_network(space.macro, space.stages, **sizes)
        return CountedNetwork(config, self.image_size or 32, self.image_channels or 3)
