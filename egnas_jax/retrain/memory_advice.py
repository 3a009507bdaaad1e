"""Says which setting to change where a retraining ran out of memory, and to what."""

import pathlib
from typing import NamedTuple

from egnas_jax.retrain.config import RetrainConfig
from egnas_jax.storage import checkpoint
from egnas_jax.training.out_of_memory import OutOfMemoryError


class Change(NamedTuple):
    """A setting to change.

    Attributes:
      path: of the setting, as `--set` takes it.
      value: the new value.
      effect: of the change on the training, in words.
    """

    path: str
    value: int | bool
    effect: str


def memory_advice(
    error: OutOfMemoryError, *, config: RetrainConfig, folder: pathlib.Path | None
) -> str:
    """The error, the setting to change, and how to go on; one line each.

    Args:
      error: what happened.
      config: of the retraining, which cannot change in the middle of a run.
      folder: run directory, or None where nothing is written.
    """
    change = _change(error.program, config)
    setting = f"--set {change.path}={str(change.value).lower()}"
    if folder is not None:
        setting += " and another --out"
    next_step = f"No epoch was finished: start anew with {setting}."
    if folder is not None and checkpoint.steps(folder / "checkpoints"):
        next_step = (
            f"Every checkpoint is whole: --resume goes on once other programs have "
            f"freed memory. Otherwise start anew with {setting}."
        )
    return (
        f"{error}\n{change.path} should be {change.value} ({change.effect}).\n"
        f"{next_step}"
    )


def _change(program: str, config: RetrainConfig) -> Change:
    """The mildest change that needs less memory: first those that keep the network."""
    smaller = Change(
        "network.channels", -(-config.network.channels // 2), "a smaller network"
    )
    if program == "evaluate":
        return smaller
    size = config.batch_size
    divisors = (n for n in range(config.accumulate + 1, size // 2 + 1) if size % n == 0)
    if parts := next(divisors, None):
        effect = f"batch statistics of {size // parts} images; the same step size"
        return Change("accumulate", parts, effect)
    if size > 2 and config.accumulate == 1:  # a prime number has no parts
        effect = "another training, but a possible one"
        return Change("batch_size", -(-size // 2), effect)
    if not config.network.remat:
        effect = "slower, and the same except for rounding"
        return Change("network.remat", True, effect)
    return smaller
