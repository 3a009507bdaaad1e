"""What to lower where a search ran out of memory."""

import pathlib
from typing import NamedTuple

from egnas_jax import checkpoint
from egnas_jax.config import SearchConfig
from egnas_jax.search.evaluate import default_chunks
from egnas_jax.search.memory import OutOfMemoryError


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


def advice(
    error: OutOfMemoryError,
    config: SearchConfig,
    image_shape: tuple[int, int, int],
    num_valid: int,
    folder: pathlib.Path,
) -> str:
    """Which setting to lower, to what, and how to go on; three lines.

    Args:
      error: what happened.
      config: of the search.
      image_shape: (H, W, C) of the data.
      num_valid: validation images.
      folder: run directory.
    """
    lower = _setting(error.program, config, max(image_shape[:2]), num_valid)
    change = f"--set {lower.path}={lower.value}"
    if checkpoint.steps(folder / "checkpoints"):
        then = (f"Every checkpoint is whole: the same command with --restore {folder} "
                f"{change} and another --out goes on.")  # fmt: skip
    else:
        then = f"No epoch was finished: start anew with {change} and another --out."
    return f"{error}\nLower {lower.path} to {lower.value} ({lower.remark}).\n{then}"
