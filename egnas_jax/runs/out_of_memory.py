"""Which setting to change where a run was out of memory, and to what."""

from typing import NamedTuple

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


HARMLESS = "no result depends on it but by rounding"
OTHER_SEARCH = "another search, but a possible one"


def advice(error: OutOfMemoryError, *, config: SearchConfig, run: loop.Run) -> str:
    """Which setting to lower, to what, and how to go on; three lines.

    Args:
      error: what happened.
      config, run: the search.
    """
    programs, folder = run.programs, run.folder
    side = max(programs.image_shape[:2])
    lower = _setting(error.program, config, side, programs.num_valid)
    change = f"--set {lower.path}={lower.value}"
    if not folder:
        then = "Process 0 has the run directory."
    elif checkpoint.steps(folder / "checkpoints"):
        then = (
            f"Every checkpoint is whole: the same command with --restore {folder} "
            f"{change} and another --out goes on."
        )
    else:
        then = f"No epoch was finished: start anew with {change} and another --out."
    return f"{error}\nLower {lower.path} to {lower.value} ({lower.remark}).\n{then}"


def _setting(program, config, side, num_valid) -> Setting:
    """The first that can be halved of those that the program's memory follows."""
    if program == "train":
        return Setting("batch_size", _half(config.batch_size), OTHER_SEARCH)
    if program == "validate":
        _, default = default_chunks(config.supernet, side, 1, num_valid, "running")
        chunk = min(config.validation_chunk or default, num_valid)
        return Setting("validation_chunk", _half(chunk), HARMLESS)
    if program == "watch":
        images = _half(config.watch.images)
        return Setting("watch.images", images, "the eigenvalue of fewer images")
    method = config.strategy
    individuals, images = method.individuals, method.fitness_batch_size
    individuals = -(-individuals // (config.devices or 1))  # on one device
    members, pixels = default_chunks(
        config.supernet, side, individuals, images, method.batch_stats
    )
    members = min(method.population_chunk or members, individuals)
    pixels = min(method.image_chunk or pixels, images)
    if members > 1:
        return Setting("strategy.population_chunk", _half(members), HARMLESS)
    if method.batch_stats == "running" and pixels > 1:
        return Setting("strategy.image_chunk", _half(pixels), HARMLESS)
    return Setting("strategy.fitness_batch_size", _half(images), OTHER_SEARCH)


def _half(number: int) -> int:
    return -(-number // 2)
