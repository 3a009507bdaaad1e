"""Advises which setting to change where a run was out of memory, and to what."""

import dataclasses
from typing import NamedTuple

from egnas_jax.proxies import PROXIES
from egnas_jax.runs.search_config import SearchConfig
from egnas_jax.search.evaluate import default_chunks
from egnas_jax.search.search_run import SearchRun
from egnas_jax.storage import checkpoint
from egnas_jax.strategies.proxy_fitness import default_population_chunk, proxy_of
from egnas_jax.training.out_of_memory import OutOfMemoryError


class Setting(NamedTuple):
    """A setting to lower.

    Attributes:
      path: its path, as `--set` takes it.
      value: the new one; half the old one, rounded up.
      remark: what the change does to the search.
    """

    path: str
    value: int
    remark: str


# settings of a method that evaluates a population in chunks
_POPULATION = {"fitness_batch_size", "batch_stats", "population_chunk", "image_chunk"}
HARMLESS = "results change by rounding alone"
OTHER_SEARCH = "the search becomes another one"


def search_advice(
    error: OutOfMemoryError, *, config: SearchConfig, run: SearchRun
) -> str:
    """Says which setting to lower, to what, and how to go on, in three lines.

    Args:
      error: names the program that was out of memory.
      config, run: the search.
    """
    lower = _setting_to_lower(error.program, config, run)
    if lower is None:
        return f"{error}\nLower what the strategy evaluates at a time."
    change = f"--set {lower.path}={lower.value}"
    if not run.folder:
        then = "Start anew with that setting; no checkpoint was written here."
    elif checkpoint.steps(run.folder / "checkpoints"):
        then = (
            f"Every checkpoint is whole: the same command with --restore {run.folder} "
            f"{change} and another --out goes on."
        )
    else:
        then = f"No epoch was finished: start anew with {change} and another --out."
    return f"{error}\nLower {lower.path} to {lower.value} ({lower.remark}).\n{then}"


def _setting_to_lower(
    program: str, config: SearchConfig, run: SearchRun
) -> Setting | None:
    """The first setting that can be halved of those that the memory depends on.

    None for the update of a method without the settings of `_POPULATION`.
    """
    side = max(run.image_shape[:2])
    if program == "train":
        return Setting("batch_size", _half(config.batch_size), OTHER_SEARCH)
    if program == "validate":
        _, default = default_chunks(
            config.supernet, side, 1, run.num_valid, batch_stats="running"
        )
        chunk = min(config.validation_chunk or default, run.num_valid)
        return Setting("validation_chunk", _half(chunk), HARMLESS)
    if program == "watch":
        images = _half(config.watch.images)
        return Setting("watch.images", images, "the eigenvalue of fewer images")
    settings = {field.name for field in dataclasses.fields(config.strategy)}
    if config.strategy.individuals is None or not settings >= _POPULATION:
        return None
    if proxy_of(getattr(config.strategy, "fitness", "")) is not None:
        return _proxy_setting(config, run.image_shape)
    return _population_setting(config, side)


def _proxy_setting(
    config: SearchConfig, image_shape: tuple[int, ...]
) -> Setting | None:
    """A setting of a method that ranks by a proxy, which no devices divide."""
    method = config.strategy
    shape = method.valid_batch_size, *image_shape
    default = default_population_chunk(
        config.supernet, method.fitness, shape, method.individuals
    )
    cells = min(method.population_chunk or default, method.individuals)
    if cells > 1:
        return Setting("strategy.population_chunk", _half(cells), HARMLESS)
    images = _half(method.fitness_batch_size)
    least = PROXIES[proxy_of(method.fitness)].least_images
    if not least <= images < method.fitness_batch_size:
        return None
    return Setting("strategy.fitness_batch_size", images, OTHER_SEARCH)


def _population_setting(config: SearchConfig, side: int) -> Setting:
    """A setting of a method that evaluates a population under trained weights."""
    method = config.strategy
    parts = config.shards or config.devices or 1
    individuals = -(-method.individuals // parts)  # evaluated together
    members, images = default_chunks(
        config.supernet,
        side,
        individuals,
        method.fitness_batch_size,
        batch_stats=method.batch_stats,
    )
    members = min(method.population_chunk or members, individuals)
    images = min(method.image_chunk or images, method.fitness_batch_size)
    if members > 1:
        return Setting("strategy.population_chunk", _half(members), HARMLESS)
    if method.batch_stats == "running" and images > 1:
        return Setting("strategy.image_chunk", _half(images), HARMLESS)
    smaller = _half(method.fitness_batch_size)
    return Setting("strategy.fitness_batch_size", smaller, OTHER_SEARCH)


def _half(number: int) -> int:
    return -(-number // 2)
