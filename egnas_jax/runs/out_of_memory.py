"""Advises which setting to change where a run was out of memory, and to what."""

import pathlib
from typing import NamedTuple

from egnas_jax.retrain.config import RetrainConfig
from egnas_jax.retrain.predict import BLOCK
from egnas_jax.runs.search_config import SearchConfig
from egnas_jax.search import loop
from egnas_jax.search.evaluate import default_chunks
from egnas_jax.storage import checkpoint
from egnas_jax.training.out_of_memory import OutOfMemoryError


class Setting(NamedTuple):
    """A setting to lower.

    Attributes:
      path: as `--set` takes it.
      value: the new one; half the old one, rounded up.
      remark: what the change does to the search.
    """

    path: str
    value: int
    remark: str


HARMLESS = "results change by rounding alone"
OTHER_SEARCH = "the search becomes another one"


def search_advice(
    error: OutOfMemoryError, *, config: SearchConfig, run: loop.SearchRun
) -> str:
    """Says which setting to lower, to what, and how to go on, in three lines.

    Args:
      error: names the program that was out of memory.
      config, run: the search.
    """
    lower = _setting_to_lower(error.program, config, run)
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
    program: str, config: SearchConfig, run: loop.SearchRun
) -> Setting:
    """The first setting that can be halved of those that the memory depends on."""
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
    return _population_setting(config, side)


def _population_setting(config: SearchConfig, side: int) -> Setting:
    """A setting of a method that evaluates a population."""
    method = config.strategy
    individuals = -(-method.individuals // (config.devices or 1))  # on one device
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


def retrain_advice(
    error: OutOfMemoryError, *, config: RetrainConfig, folder: pathlib.Path
) -> str:
    """As `advice`, of a retraining, which no setting may change in its middle.

    Args:
      error: what happened.
      config, folder: of the retraining.
    """
    change = _retrain_setting(error.program, config)
    where = f"--set {change.path}={str(change.value).lower()} and another --out"
    then = f"No epoch was finished: start anew with {where}."
    if checkpoint.steps(folder / "checkpoints"):
        then = (
            f"Every checkpoint is whole: --resume goes on where other programs had "
            f"the memory. Otherwise start anew with {where}."
        )
    return f"{error}\n{change.path} should be {change.value} ({change.remark}).\n{then}"


def _retrain_setting(program, config) -> Setting:
    """More parts of a batch, then what takes time or makes another network."""
    smaller = Setting(
        "network.channels", _half(config.network.channels), "a smaller network"
    )
    if program == "evaluate":
        if config.eval_batch_size <= BLOCK:  # the least that is given to the device
            return smaller
        return Setting("eval_batch_size", _half(config.eval_batch_size), HARMLESS)
    size = config.batch_size
    parts = (n for n in range(config.accumulate + 1, size // 2 + 1) if size % n == 0)
    if more := next(parts, None):
        remark = f"batch statistics of {size // more} images; the same step size"
        return Setting("accumulate", more, remark)
    if size > 2 and config.accumulate == 1:  # a prime number has no parts
        return Setting(
            "batch_size", _half(size), "another training, but a possible one"
        )
    if not config.network.remat:
        return Setting("network.remat", True, "slower, and the same but for rounding")
    return smaller


def _half(number: int) -> int:
    return -(-number // 2)
