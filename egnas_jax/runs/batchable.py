"""Decides which searches can run as one program.

One program serves searches that differ in arrays alone: their seeds, and the numbers
that affect no shape and no order of the host's calls.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax

from egnas_jax.nn.supernet import make_supernet
from egnas_jax.runs.batch_shape import check_one_process
from egnas_jax.runs.search_config import SearchConfig
from egnas_jax.runs.stages import planned_stages
from egnas_jax.settings import FREE, as_dict, flat
from egnas_jax.strategies import STRATEGIES

# settings of the run that are arguments of a batch's programs
_ARGUMENTS = (
    *("seed", "learning_rate", "learning_rate_min"),
    *("momentum", "weight_decay", "clip_norm"),
)
# settings that the host reads for each search by itself
OF_THE_RUN = (*FREE, "data.digest")
# settings that the host reads, whose calls serve all searches of a batch
_OF_THE_HOST = ("epochs", "steps_per_call", "devices", "shards", "schedule.", "watch.")


def batchable_paths(config: SearchConfig) -> tuple[str, ...]:
    """Returns the settings in which the searches of a batch may differ.

    Args:
      config: configuration of one of them.
    """
    _, make = STRATEGIES[config.strategy_name]
    strategy = make(make_supernet(config.supernet), config.strategy)
    leaves = jax.tree.leaves_with_path(strategy.hyperparams)
    numbers = tuple(f"strategy.{path[0].name}" for path, _ in leaves)
    return (*_ARGUMENTS, *numbers)


def check_batchable(configs: Sequence[SearchConfig]) -> None:
    """Refuses searches that one program cannot serve.

    Args:
      configs: of the searches.

    Raises:
      ValueError: names the first setting that stands in the way, and why.
    """
    first = configs[0]
    methods = dict.fromkeys(config.strategy_name for config in configs)
    if len(methods) > 1:
        raise ValueError(
            f"The searches have different strategies ({', '.join(methods)}), but one "
            f"program is that of one method. Run these one after another (batched "
            f"off), or those of each strategy as a batch."
        )
    _check_one_program(first)
    check_differences(configs, batchable_paths(first), _reason)


def check_differences(
    configs: Sequence[Any],
    allowed: Sequence[str],
    reason: Callable[[str], str],
    what: str = "searches",
) -> None:
    """Refuses runs that differ in a setting in which those of a batch may not.

    Args:
      configs: of the runs.
      allowed: paths in which they may differ.
      reason: path -> why they may not differ in it.
      what: what messages call the runs, in the plural.

    Raises:
      ValueError: names the first such setting, and why.
    """
    settings = [dict(flat(as_dict(config))) for config in configs]
    for path in dict.fromkeys(path for each in settings for path in each):
        values = dict.fromkeys(repr(each.get(path)) for each in settings)
        if len(values) > 1 and path not in (*allowed, *OF_THE_RUN):
            raise ValueError(
                f"{path} differs between the {what} ({', '.join(values)}), but "
                f"{reason(path)}. Those of one batch may differ in "
                f"{', '.join(allowed)}. Run these one after another (batched off), or "
                f"as a batch for each value."
            )


def _reason(path: str) -> str:
    if path.startswith(_OF_THE_HOST):
        return "the calls of one host serve all searches of a batch"
    if path.startswith("data."):
        return "the searches of a batch read one data set in one way"
    return "it is part of the compiled program, of which a batch has one"


def _check_one_program(config: SearchConfig) -> None:
    """Refuses what the host does between epochs, and what one program cannot do."""
    if planned_stages(config):
        raise ValueError(
            f"{config.strategy_name} searches in stages, whose programs follow from "
            f"what each search has found. Run such searches one after another (batched "
            f"off)."
        )
    if config.watch.eigenvalue != "off":
        raise ValueError(
            f"watch.eigenvalue is {config.watch.eigenvalue}, but the host computes the "
            f"eigenvalue of each search by itself. Set watch.eigenvalue=off, or run "
            f"the searches one after another (batched off)."
        )
    if config.supernet.lowering == "fused":
        raise ValueError(
            "supernet.lowering is fused, but fused kernels compute with the weights of "
            "one supernet. Choose auto or shifted, or run the searches one after "
            "another (batched off)."
        )
    if config.shards not in (None, 1):
        raise ValueError(
            f"shards is {config.shards}, but a batch of searches computes each of "
            f"them on one device, with the same digests on any. Leave shards out, or "
            f"run the searches one after another (batched off)."
        )
    batch_devices(config)
    check_one_process()


def batch_devices(config: SearchConfig) -> int:
    """Returns how many devices divide a batch of searches.

    Args:
      config: configuration of one of them; `devices` is the number, or None for all of
        this process.

    Raises:
      ValueError: there are fewer.
    """
    found = jax.local_device_count()
    if config.devices is not None and config.devices > found:
        raise ValueError(
            f"devices is {config.devices}, but this process has {found}. Set devices "
            f"to none for all of them."
        )
    return config.devices or found
