"""Makes the configurations of a sweep: every combination of values, with every seed."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from egnas_jax.settings import apply_settings, as_dict, flat

if TYPE_CHECKING:  # importing it imports JAX
    from egnas_jax.runs.search_config import SearchConfig

    MakeConfig = Callable[[Mapping[str, str]], SearchConfig]

Config = TypeVar("Config")
MOST_SEEDS = 10_000  # of one setting; more are a typing error


def swept_configs(
    make: "MakeConfig", sweep: Mapping[str, Sequence[str]], *, option: str = "--sweep"
) -> list["SearchConfig"]:
    """Returns the configuration of every combination of values.

    Args:
      make: settings -> the configuration with them.
      sweep: dotted path -> texts of its values.
      option: what messages call the sweep.

    Raises:
      ValueError: an unknown path, a value of the wrong type or out of range, or two
        values that are the same.
    """
    combinations = list(itertools.product(*sweep.values()))
    configs = [make(dict(zip(sweep, values, strict=True))) for values in combinations]
    for index, config in enumerate(configs):
        if (first := configs.index(config)) < index:
            raise ValueError(
                f"{option} has the same setting twice, for {', '.join(sweep)}: "
                f"{', '.join(combinations[first])} and "
                f"{', '.join(combinations[index])}. Leave one out."
            )
    return configs


def with_seeds(config: Config, seeds: int | Sequence[int]) -> list[Config]:
    """Returns a configuration with each of several seeds.

    Args:
      config: of a search or a retraining.
      seeds: number of seeds, from that of the configuration on; or the seeds.

    Raises:
      ValueError: there are more than `MOST_SEEDS`, or a seed is out of range.
    """
    count = seeds if isinstance(seeds, int) else len(seeds)
    if count > MOST_SEEDS:
        raise ValueError(
            f"seeds is {count}, but one configuration takes at most {MOST_SEEDS}. Give "
            f"fewer seeds."
        )
    if isinstance(seeds, int):
        seeds = range(config.seed, config.seed + seeds)
    return [apply_settings(config, {"seed": seed}) for seed in seeds]


def setting_label(config: Any, paths: Sequence[str]) -> str:
    """Returns settings as the name of a directory: "strategy.eta=0.2,momentum=0.9".

    Characters that a file name may not have are written as in a URL, and whole numbers
    without decimals.

    Args:
      config: has the values.
      paths: of the settings; "" without any.
    """
    values = dict(flat(as_dict(config)))
    return ",".join(f"{path}={_quoted(values.get(path))}" for path in paths)


def _quoted(value: Any) -> str:
    return quote(str(value).removesuffix(".0"), safe="")
