"""Builds the configuration of a search from presets, variants and settings."""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from egnas_jax.data.config import DataConfig
from egnas_jax.idle import without_idle
from egnas_jax.lookup import lookup
from egnas_jax.nn.network_config import NetworkConfig
from egnas_jax.nn.supernet import SupernetConfig
from egnas_jax.nn.supernet_config import as_live
from egnas_jax.runs.presets import PRESETS, RECIPES
from egnas_jax.search.epoch_schedule import EpochSchedule
from egnas_jax.search.racing import Race
from egnas_jax.search.strategy import StrategyConfig
from egnas_jax.search.watch import WatchConfig
from egnas_jax.settings import (
    FREE,
    LARGEST_FLOAT,
    LARGEST_INT,
    apply_settings,
    as_dict,
    check_field_types,
    check_ranges,
    check_types,
    flat,
)
from egnas_jax.space import SPACES
from egnas_jax.space.stages import nearest_layers
from egnas_jax.strategies import STRATEGIES
from egnas_jax.strategies.egnas.config import EGNASConfig
from egnas_jax.strategies.egnas.variants import (
    DECIDED_BY_VARIANT,
    DEFAULT_SEEDS,
    VARIANT_SCHEDULES,
    VARIANTS,
)
from egnas_jax.strategies.limits.config import Limit
from egnas_jax.training.sgd import SGD, check_rates


@dataclasses.dataclass(frozen=True)
class SearchConfig:
    """The configuration of a whole search.

    Attributes:
      data, supernet: the images, and the network that the search trains.
      strategy: the configuration of the search method.
      strategy_name: a name of the table of strategies.
      schedule: what the loop does in an epoch.
      seed: of every random stream.
      epochs: of the search.
      batch_size, learning_rate, learning_rate_min, momentum, weight_decay, clip_norm:
        of SGD on the weights.
      nesterov: whether its momentum is Nesterov's.
      steps_per_call: weight steps in one call of the device; no result depends on it.
      keep_checkpoints: how many checkpoints stay.
      validation_chunk: validation images at a time; None: as
        `search.evaluate.default_chunks` chooses.
      shards: number of shards into which each population and each batch is divided
        whatever the devices, so that the results are the same on any number that
        divides the shards (`training.shards`); None: the devices divide them, which is
        faster.
      devices: number of devices that share each population and each batch; None: all
        that JAX sees. The weights of another number agree to rounding alone.
      tensorboard, mlflow, wandb: send the metrics to these trackers too, see
        `storage.trackers`.
      watch: signs of a collapse: alpha's curvature, and the rule that ends a search
        early.

    Raises:
      ValueError: a value has the wrong type or is out of its range.
    """

    data: DataConfig
    supernet: SupernetConfig
    strategy: StrategyConfig
    strategy_name: str = "egnas"
    schedule: EpochSchedule = EpochSchedule()
    seed: int = 0
    epochs: int = 50
    batch_size: int = 256
    learning_rate: float = 0.1
    learning_rate_min: float = 0.0
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 3e-4
    clip_norm: float = 5.0
    steps_per_call: int = 8
    keep_checkpoints: int = 2
    validation_chunk: int | None = None
    devices: int | None = None
    shards: int | None = None
    tensorboard: bool = False
    mlflow: bool = False
    wandb: bool = False
    watch: WatchConfig = WatchConfig()

    def __post_init__(self):
        check_ranges(self, _RANGES)
        check_field_types(self)
        check_field_types(self.strategy, "strategy.")
        if self.momentum == 1:
            raise ValueError("momentum is 1.0, but must be below 1.")
        check_rates(self.learning_rate, self.learning_rate_min)

    @property
    def sgd(self) -> SGD:
        """The settings that train the weights."""
        return SGD(**{name: getattr(self, name) for name in SGD._fields})


_RANGES = {
    "seed": (0, LARGEST_INT),
    "epochs": (1, LARGEST_INT),
    "batch_size": (2, LARGEST_INT),
    "steps_per_call": (1, LARGEST_INT),
    "keep_checkpoints": (1, LARGEST_INT),
    "validation_chunk": (1, LARGEST_INT),
    "devices": (1, LARGEST_INT),
    "shards": (1, LARGEST_INT),
    "learning_rate": (1e-12, LARGEST_FLOAT),
    "learning_rate_min": (0.0, LARGEST_FLOAT),
    "momentum": (0.0, 1.0),
    "weight_decay": (0.0, LARGEST_FLOAT),
    "clip_norm": (1e-12, LARGEST_FLOAT),
}


def search_config(
    preset: str = "digits",
    *,
    strategy: str = "egnas",
    variant: str | None = None,
    space: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> SearchConfig:
    """Builds the configuration of a search.

    Args:
      preset: a whole run's settings, a name of `presets.PRESETS`.
      strategy: the search method, a name of `STRATEGIES`.
      variant: which set of EG-NAS's options: "paper" (the default), "official",
        "reproduction" or "revised".
      space: what a cell is built from, a name of `SPACES`; None: the preset's.
      settings: dotted path -> value, e.g. {"epochs": 3, "strategy.population": 8}; the
        names and checks are those of `--set` on the command line.

    Raises:
      ValueError: an unknown name or path, or a value of the wrong type or range.
    """
    parts = lookup(PRESETS, preset, "preset")
    supernet = dict(parts.get("supernet", {}))
    config = SearchConfig(
        data=DataConfig(**parts["data"]),
        supernet=SupernetConfig(**supernet),
        strategy_name=strategy,
        **_method(strategy, variant, parts.get(strategy, {})),
        **parts.get("run", {}),
    )
    changes = _settings_of(parts.get("settings", {}), strategy, variant)
    space = space or parts.get("space")
    if space is not None:
        # with all other settings at once: a space may need other sizes
        in_space = _supernet_of(space, supernet)
        changes = {f"supernet.{k}": v for k, v in in_space.items()} | changes
    config = apply_settings(config, changes | dict(settings or {}))
    return with_limit_of(config, limit_network(config, parts["data"]["name"]))


def _settings_of(
    registered: Mapping[str, Any], strategy: str, variant: str | None
) -> dict[str, Any]:
    """The settings of a registered preset that a search by one method has.

    Args:
      registered: dotted path -> value; paths of a method begin with its name.
      strategy: name of the method.
      variant: of EG-NAS, or None.
    """
    chosen = {}
    for path, value in registered.items():
        group, _, name = path.partition(".")
        if group not in STRATEGIES:
            chosen[path] = value
        elif group == strategy and name not in DECIDED_BY_VARIANT.get(variant, ()):
            chosen[f"strategy.{name}"] = value
    return chosen


def _method(strategy: str, variant: str | None, sizes: dict[str, Any]) -> dict:
    """What the strategy and its variant decide of a `SearchConfig`."""
    config, _ = lookup(STRATEGIES, strategy, "strategy")
    if strategy == "egnas":
        variant = variant or "paper"
        method = EGNASConfig.variant(variant)
        decided = DECIDED_BY_VARIANT[variant]
        sizes = {k: v for k, v in sizes.items() if k not in decided}
        return {
            "strategy": dataclasses.replace(method, **sizes),
            "schedule": EpochSchedule(**VARIANT_SCHEDULES[variant]),
            "seed": DEFAULT_SEEDS[variant],
        }
    if variant is not None:
        lookup(VARIANTS, variant, "variant")
        raise ValueError(
            f"The variant {variant} is one of EG-NAS, and the strategy is {strategy}. "
            f"Leave one of the two out."
        )
    return {"strategy": config(**sizes)}


def limit_of(config: SearchConfig) -> Limit:
    """Returns the limits of a search; a method that takes none has no limits."""
    return getattr(config.strategy, "limit", Limit())


def with_limit_of(config: SearchConfig, limit: Limit) -> SearchConfig:
    """Returns the configuration with other limits, of a method that takes them."""
    if limit == limit_of(config):
        return config
    strategy = dataclasses.replace(config.strategy, limit=limit)
    return dataclasses.replace(config, strategy=strategy)


def limit_network(config: SearchConfig, data: str) -> Limit:
    """Returns the limits of a search, of the network that a retraining would train.

    Args:
      config: of the search.
      data: name of the preset's data. The recipe of that name has the network.
    """
    limit, space = limit_of(config), SPACES[config.supernet.space]
    if not limit.is_set or "reduce" not in space.kinds:
        return limit
    network = NetworkConfig(**RECIPES.get(data, {}).get("network", {}))
    if space.stages is not None:
        layers = nearest_layers(space.stages, network.layers)
        network = dataclasses.replace(network, layers=layers)
    sizes = {
        name: getattr(network, name)
        for name in ("channels", "layers", "frame")
        if getattr(limit, name) is None
    }
    return dataclasses.replace(limit, **sizes)


def _supernet_of(space: str, supernet: dict[str, Any]) -> dict[str, Any]:
    """Settings of a preset's supernet in another space."""
    if lookup(SPACES, space, "space").macro == "nasbench201":
        # as NAS-Bench-201 has it: all channels, and 5 cells a stage by default; the
        # next number of layers, if the preset's has no equal stages and two blocks
        layers = supernet.get("layers", 17)
        layers += (2 - layers) % 3
        supernet = {**supernet, "layers": layers, "partial_channels": 1}
    stages = SPACES[space].stages
    if stages is not None:
        layers = nearest_layers(stages, supernet.get("layers", SupernetConfig.layers))
        supernet = {**supernet, "layers": layers}
    return {**supernet, "space": space}


def from_dict(stored: dict[str, Any]) -> SearchConfig:
    """Rebuilds a configuration from what config.json holds.

    A setting that is not stored takes its default, which means what was done before
    the setting existed; so does one that had no effect and would be refused now. Names
    of earlier versions are understood, so their runs can be resumed and replayed.

    Raises:
      ValueError, KeyError, TypeError: it is no configuration, or a value has another
        type.
    """
    stored = with_current_names(stored)
    method, _ = lookup(STRATEGIES, stored["strategy_name"], "strategy")
    config = SearchConfig(
        **{
            **stored,
            "data": DataConfig(**stored["data"]),
            "supernet": _stored_supernet(stored["supernet"]),
            "strategy": _stored_strategy(method, stored["strategy"]),
            "schedule": EpochSchedule(**stored.get("schedule", {})),
            "watch": WatchConfig(**without_idle(WatchConfig, stored.get("watch", {}))),
        }
    )
    check_types(config, stored)
    return config


def _stored_strategy(method: type, stored: dict[str, Any]) -> StrategyConfig:
    """The method's configuration of a stored one, with its limits and its race."""
    parts = {"limit": Limit, "race": Race}
    whole = {
        name: part(**stored[name])
        for name, part in parts.items()
        if stored.get(name) is not None
    }
    return method(**without_idle(method, stored) | whole)


def _stored_supernet(stored: dict[str, Any]) -> SupernetConfig:
    """The supernet of a stored configuration; JSON has lists for tuples."""
    return SupernetConfig(**{**stored, "live": as_live(stored.get("live"))})


# of `strategy` in a stored configuration: old name -> new name
_RENAMED = {"priced": "individual_mixing", "price_grid": "weight_grid"}


def with_current_names(stored: dict[str, Any]) -> dict[str, Any]:
    """Renames what version 0.1 stored, which kept the schedule in `strategy`.

    Args:
      stored: the contents of a search's config.json.
    """
    strategy = {_RENAMED.get(k, k): v for k, v in stored["strategy"].items()}
    schedule = dataclasses.asdict(EpochSchedule())
    moved = {name: strategy.pop(name) for name in schedule if name in strategy}
    schedule |= {**moved, **stored.get("schedule", {})}
    return {**stored, "strategy": strategy, "schedule": schedule}


# Settings that no compiled program depends on: only the host reads them, or they are
# arguments of the program.
_NOT_COMPILED = (
    *FREE,
    *("seed", "epochs", "learning_rate", "learning_rate_min", "steps_per_call"),
    *("data.name", "data.path", "data.digest", "data.classes", "data.layout"),
    *("watch.stop", "watch.window", "watch.factor", "watch.delta", "watch.start"),
    *("schedule.order", "schedule.learning_rate_epoch", "schedule.split"),
)


def compiled_in(config: SearchConfig, hyperparams: Collection[str]) -> dict[str, Any]:
    """Returns path -> value of every setting that the programs of a search depend on.

    Args:
      config: of the search.
      hyperparams: names of the strategy's settings that are arguments of the programs.
    """
    outside = {*_NOT_COMPILED, *(f"strategy.{name}" for name in hyperparams)}
    return {p: value for p, value in flat(as_dict(config)) if p not in outside}
