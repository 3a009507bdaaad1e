"""The configuration of a search, its presets, and typed overrides by dotted paths."""

import dataclasses
from collections.abc import Collection
from typing import Any

from egnas_jax.data.config import DataConfig
from egnas_jax.lookup import lookup
from egnas_jax.nn.supernet import SupernetConfig
from egnas_jax.search.watch import WatchConfig
from egnas_jax.settings import (
    FREE,
    LARGEST_FLOAT,
    LARGEST_INT,
    apply_overrides,
    as_dict,
    check_types,
    flat,
)
from egnas_jax.space import SPACES
from egnas_jax.strategies import STRATEGIES
from egnas_jax.strategies.egnas.config import DEFAULT_SEEDS, VARIANTS, EGNASConfig
from egnas_jax.training.sgd import SGD


@dataclasses.dataclass(frozen=True)
class SearchConfig:
    """A whole search.

    Attributes:
      data, supernet, strategy: see there.
      strategy_name: a name of the table of strategies.
      seed: of every random stream.
      epochs: of the search.
      batch_size, learning_rate, learning_rate_min, momentum, weight_decay, clip_norm:
        of SGD on the weights.
      steps_per_call: weight steps in one call of the device; no result depends on it.
      keep_checkpoints: how many stay.
      validation_chunk: validation images at a time; None: as
        `search.evaluate.default_chunks` has it.
      devices: that share each population and each batch; none: all that JAX sees. The
        weights of another number agree to rounding alone.
      tensorboard: write the figures of metrics.jsonl for TensorBoard too.
      watch: for a collapse: alpha's curvature, and the rule that ends a search early.

    Raises:
      ValueError: a number out of its range.
    """

    data: DataConfig
    supernet: SupernetConfig
    strategy: Any
    strategy_name: str = "egnas"
    seed: int = 0
    epochs: int = 50
    batch_size: int = 256
    learning_rate: float = 0.1
    learning_rate_min: float = 0.0
    momentum: float = 0.9
    weight_decay: float = 3e-4
    clip_norm: float = 5.0
    steps_per_call: int = 8
    keep_checkpoints: int = 2
    validation_chunk: int | None = None
    devices: int | None = None
    tensorboard: bool = False
    watch: WatchConfig = WatchConfig()

    def __post_init__(self):
        least = {
            "seed": 0,
            "epochs": 1,
            "batch_size": 2,
            "learning_rate_min": 0.0,
            "momentum": 0.0,
            "weight_decay": 0.0,
            "steps_per_call": 1,
            "keep_checkpoints": 1,
            "learning_rate": 1e-12,
            "clip_norm": 1e-12,
        }
        for name, low in least.items():
            value = getattr(self, name)
            high = LARGEST_INT if isinstance(value, int) else LARGEST_FLOAT
            if not low <= value <= high:
                raise ValueError(
                    f"{name} is {value}, but must be from {low} to {high}."
                )
        for name in ("validation_chunk", "devices"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}, but must be at least 1, or none.")
        if self.momentum >= 1:
            raise ValueError(f"momentum is {self.momentum}, but must be below 1.")

    @property
    def sgd(self) -> SGD:
        """The part that trains the weights."""
        return SGD(**{name: getattr(self, name) for name in SGD._fields})


PRESETS: dict[str, dict[str, Any]] = {
    "digits": dict(
        data=dict(name="digits", pad=1, flip=False),
        supernet=dict(channels=8, layers=5, partial_channels=2),
        egnas=dict(warmup=1, population=16, samples=2, generations=2),
        random_search=dict(candidates=64),
        darts=dict(learning_rate=3e-3),
        run=dict(epochs=12, batch_size=64),
    ),
    "cifar10": dict(data=dict(name="cifar10", pad=4, flip=True)),
    "cifar100": dict(
        data=dict(name="cifar100", pad=4, flip=True), supernet=dict(num_classes=100)
    ),
}


def build(
    preset: str = "digits",
    strategy: str = "egnas",
    variant: str | None = None,
    space: str | None = None,
    overrides: list[str] | None = None,
) -> SearchConfig:
    """The configuration that a command line names.

    Args:
      preset: a name of `PRESETS`.
      strategy: a name of the table of strategies.
      variant: of EG-NAS; None is "paper".
      space: a name of `SPACES`, or None for the preset's.
      overrides: "path=value" each, as of `--set`.

    Raises:
      ValueError: an unknown name or path, or a value of the wrong type or range.
    """
    parts = lookup(PRESETS, preset, "preset")
    kind, _ = lookup(STRATEGIES, strategy, "strategy")
    own = parts.get(strategy, {})
    run = dict(parts.get("run", {}))
    if strategy == "egnas":
        variant = variant or "paper"
        method = EGNASConfig.variant(variant)
        # a preset sizes the exploration; a variant of one generation keeps it
        own = {k: v for k, v in own.items() if (variant, k) not in _VARIANT_DECIDES}
        method = dataclasses.replace(method, **own)
        run["seed"] = DEFAULT_SEEDS[variant]
    elif variant is not None:
        lookup(VARIANTS, variant, "variant")
        raise ValueError(
            f"--variant {variant} is one of EG-NAS, and the strategy is {strategy}. "
            f"Leave one of the two out."
        )
    else:
        method = kind(**own)
    supernet = dict(parts.get("supernet", {}))
    if space is not None:
        supernet = _supernet_of(space, supernet)
    config = SearchConfig(
        data=DataConfig(**parts["data"]),
        supernet=SupernetConfig(**supernet),
        strategy=method,
        strategy_name=strategy,
        **run,
    )
    return apply_overrides(config, overrides or [])


def _supernet_of(space: str, supernet: dict[str, Any]) -> dict[str, Any]:
    """Settings of a preset's supernet in another space."""
    if lookup(SPACES, space, "space").family == "topology":
        # as the benchmark has it: all channels, 5 cells a stage where nothing is said
        supernet = {"layers": 17, **supernet, "partial_channels": 1}
    return {**supernet, "space": space}


_VARIANT_DECIDES = {("official", "generations"), ("reproduction", "generations")}


def from_dict(stored: dict[str, Any]) -> SearchConfig:
    """Inverse of `as_dict`; what is not stored takes its default.

    A setting that a later version adds has the default that means what was done before
    it, so that runs of earlier versions can be resumed and replayed.

    Raises:
      ValueError, KeyError, TypeError: it is none, or a value has another type.
    """
    kind, _ = lookup(STRATEGIES, stored["strategy_name"], "strategy")
    config = SearchConfig(
        **{
            **stored,
            "data": DataConfig(**stored["data"]),
            "supernet": SupernetConfig(**stored["supernet"]),
            "strategy": kind(**stored["strategy"]),
            "watch": WatchConfig(**stored.get("watch", {})),
        }
    )
    check_types(config, stored)
    return config


# settings that no compiled program holds: the host alone reads them, or they come as
# arguments
_OUTSIDE = (
    *FREE,
    "seed",
    "epochs",
    "learning_rate",
    "learning_rate_min",
    "steps_per_call",
    "data.name",
    "data.path",
    "data.digest",
    "watch.stop",
    "watch.window",
    "watch.factor",
    "watch.delta",
    "watch.start",
)


def compiled_in(config: SearchConfig, numbers: Collection[str]) -> dict[str, Any]:
    """Path -> value of every setting that the programs of a search depend on.

    Args:
      config: of the search.
      numbers: those of its strategy that are arguments (`Strategy.numbers`).
    """
    outside = {*_OUTSIDE, *(f"strategy.{name}" for name in numbers)}
    return {p: value for p, value in flat(as_dict(config)) if p not in outside}
