"""Configures searches in the table, and grids over EG-NAS's hyperparameters."""

import dataclasses
import itertools
import re
from collections.abc import Collection
from typing import Any

from egnas_jax.lookup import lookup
from egnas_jax.settings import LARGEST_INT, apply_overrides, as_dict, check_ranges
from egnas_jax.strategies.egnas.config import HYPERPARAMS, EGNASConfig
from egnas_jax.strategies.egnas.variants import DECIDED_BY_VARIANT
from egnas_jax.studies.nasbench201.method_configs import (
    AgeingConfig,
    ENASConfig,
    LocalSearchConfig,
    NSGA2Config,
    PPOConfig,
    RandomConfig,
    ReinforceConfig,
    SwarmConfig,
)
from egnas_jax.studies.nasbench201.method_table import METHODS
from egnas_jax.studies.nasbench201.table import DATASETS

# options of EG-NAS that concern images or training, which a table lacks
IMAGE_OPTIONS = (
    "fitness",
    "warmup",
    "fitness_batch_size",
    "fitness_batches",
    "batch_stats",
    "population_chunk",
    "image_chunk",
)
# option of a method that says how many cells it evaluates before it learns of any
FIRST_CELLS = {
    "ageing_evolution": "population",
    "enas": "samples",
    "nasnet_ppo": "samples",
    "nsga2": "population",
    "epcnas_pso": "particles",
}
RANGES = {"runs": (1, 10**6), "queries": (1, 10**6), "seed": (0, LARGEST_INT)}
MAX_SETTINGS = 1000
# Small populations over few generations: explorations of the paper's size would leave
# two steps of alpha to a thousand queries.
SIZES = dict(population=16, samples=2, generations=2)


@dataclasses.dataclass(frozen=True)
class TableSearchConfig:
    """Configuration of searches in the table.

    Attributes:
      egnas, random_search, local_search, ageing_evolution, reinforce, enas, nasnet_ppo,
        nsga2, epcnas_pso: options of each method.
      dataset: a name in `DATASETS`.
      runs: runs of each method and setting, each with its own seed.
      queries: cells evaluated in a run.
      seed: seed of every random stream.

    Raises:
      ValueError: an unknown data set, or a number out of its range.
    """

    egnas: EGNASConfig
    random_search: RandomConfig = RandomConfig()
    local_search: LocalSearchConfig = LocalSearchConfig()
    ageing_evolution: AgeingConfig = AgeingConfig()
    reinforce: ReinforceConfig = ReinforceConfig()
    enas: ENASConfig = ENASConfig()
    nasnet_ppo: PPOConfig = PPOConfig()
    nsga2: NSGA2Config = NSGA2Config()
    epcnas_pso: SwarmConfig = SwarmConfig()
    dataset: str = "cifar10"
    runs: int = 500
    queries: int = 1000
    seed: int = 0

    def __post_init__(self):
        lookup(DATASETS, self.dataset, "data set of the table")
        check_ranges(self, RANGES)


def build(variant: str | None, overrides: list[str]) -> TableSearchConfig:
    """Builds the configuration that a command line describes.

    Args:
      variant: variant of EG-NAS; None for "paper" in explorations of `SIZES`.
      overrides: "path=value" each; paths of options begin with the method's name.

    Raises:
      ValueError: an unknown name or path, a value of the wrong type or out of range, or
        an option that has no meaning without images.
    """
    for entry in overrides:
        method, _, name = entry.partition("=")[0].partition(".")
        if method == "egnas" and name.startswith("limit."):
            raise ValueError(
                f"egnas.{name} limits what a search finds, and searches in the table "
                f"take no limits: leave it out."
            )
        is_race = name.startswith("race.")
        if method == "egnas" and (is_race or name in IMAGE_OPTIONS):
            raise ValueError(
                f"egnas.{name} concerns images or training, and a table has neither: "
                f"leave it out."
            )
    # a table has no batches to race for
    egnas = EGNASConfig.variant(variant or "paper").on_one_batch()
    # a variant that is named also decides the generations
    named = variant is not None
    decided = ("generations", *DECIDED_BY_VARIANT[variant]) if named else ()
    sizes = {name: size for name, size in SIZES.items() if name not in decided}
    base = TableSearchConfig(egnas=dataclasses.replace(egnas, **sizes))
    return _with_overrides(base, overrides)


def options_of(config: TableSearchConfig, method: str) -> dict[str, Any]:
    """The options of a method that a search in the table has, name -> value."""
    options = as_dict(getattr(config, method))
    if method != "egnas":
        return options
    without = (*IMAGE_OPTIONS, "race", "limit")
    return {name: value for name, value in options.items() if name not in without}


def _with_overrides(config: TableSearchConfig, overrides: list[str]):
    """The configuration with settings changed; errors name the paths of this command.

    EG-NAS calls its options strategy.NAME; a path that was given stands in quotes.
    """
    try:
        return apply_overrides(config, overrides)
    except ValueError as error:
        message = re.sub(r"(?<!')\bstrategy\.", "egnas.", str(error))
        raise ValueError(message) from None


def grid(config: TableSearchConfig, sweeps: list[str]) -> list[dict[str, float]]:
    """Every combination of swept hyperparameters of EG-NAS.

    Args:
      config: all other options.
      sweeps: "egnas.NAME=V1,V2,..." each, NAME in `HYPERPARAMS`; without any, the
        result is one empty combination.

    Raises:
      ValueError: another path, a value out of range, or too many combinations.
    """
    axes = {}
    for entry in sweeps:
        path, _, values = entry.partition("=")
        method, _, name = path.partition(".")
        if method != "egnas" or name not in HYPERPARAMS or not values:
            raise ValueError(
                f"--sweep takes egnas.NAME=V1,V2,... with NAME of "
                f"{', '.join(HYPERPARAMS)}, got {entry!r}. Other settings change the "
                f"program: use --set, one command each."
            )
        if name in axes:
            raise ValueError(f"--sweep names {path} twice; give all values in one.")
        configs = [_with_overrides(config, [f"{path}={v}"]) for v in values.split(",")]
        axes[name] = [getattr(each.egnas, name) for each in configs]
    settings = [
        dict(zip(axes, values, strict=True))
        for values in itertools.product(*axes.values())
    ]
    if len(settings) > MAX_SETTINGS:
        raise ValueError(
            f"--sweep makes {len(settings)} combinations, but one program takes at "
            f"most {MAX_SETTINGS}. Sweep fewer values."
        )
    return settings


def check_methods(
    config: TableSearchConfig, methods: Collection[str], overrides: list[str]
) -> None:
    """Refuses settings that the chosen methods do not have, or have no queries for.

    Args:
      config: the configuration with the settings.
      methods: names of those that search.
      overrides: "path=value" each, see `build`.

    Raises:
      ValueError: a setting is of another method, or a method would evaluate more cells
        than a run may before it learns of any.
    """
    for entry in overrides:
        name, dot, _ = entry.partition("=")[0].partition(".")
        if dot and name not in methods:
            raise ValueError(
                f"--set {entry} sets an option of {name}, which --strategy leaves out. "
                f"Leave the setting out, or add --strategy {name}."
            )
    exploration = config.egnas.mixings_evaluated
    if "egnas" in methods and exploration > config.queries:
        raise ValueError(
            f"An exploration of egnas evaluates {exploration} cells, but a run has "
            f"{config.queries} queries, with which alpha would never move. Lower "
            f"egnas.population, egnas.samples or egnas.generations, or raise --queries."
        )
    for name in methods:
        option = FIRST_CELLS.get(name)
        cells = getattr(getattr(config, name), option) if option else 0
        if cells >= config.queries:
            raise ValueError(
                f"{name}.{option} is {cells}, but a run has {config.queries} queries, "
                f"which would all be spent before {name} learns of any cell. Lower it, "
                f"or raise --queries."
            )


def chosen_methods(names: list[str]) -> list[str]:
    """The named methods without repetition; all of them where none is named.

    Raises:
      ValueError: an unknown name.
    """
    for name in names:
        lookup(METHODS, name, "method of a table search")
    return list(dict.fromkeys(names)) or list(METHODS)
