"""Reads from the run that found a genotype what its retraining takes over."""

import math
import pathlib

from egnas_jax.runs.unknown_settings import check_known
from egnas_jax.storage import records


def run_of(path: pathlib.Path | None) -> pathlib.Path | None:
    """The run that a genotype belongs to.

    Args:
      path: run directory, or file of a genotype; None for a genotype from elsewhere.

    Returns:
      The directory itself, or that of the file where a run wrote it; else None.
    """
    if path is None or path.is_dir():
        return path
    folder = path.parent
    wrote = all((folder / name).is_file() for name in ("config.json", "metrics.jsonl"))
    return folder if wrote else None


def split_seed(origin: pathlib.Path | None) -> dict[str, int]:
    """The setting that keeps the test images of a search out of the training.

    Args:
      origin: run directory, or None.

    Returns:
      {"split_seed": seed}; {} without a run.

    Raises:
      ValueError: its configuration was altered, or is one of a later version.
    """
    stored = _read_object(origin, "config.json")
    if origin is not None:
        check_known(stored, origin / "config.json")
    seed = stored.get("split_seed", stored.get("seed"))
    return {} if seed is None else {"split_seed": seed}


def searched_on(origin: pathlib.Path | None) -> tuple[str | None, str | None]:
    """What a run was searched or trained on.

    Args:
      origin: run directory, or None.

    Returns:
      The name of the data set and the path of the user's own images, each None where
      there is none or no run.
    """
    data = _read_object(origin, "config.json").get("data")
    if not isinstance(data, dict):
        return None, None
    return data.get("name"), data.get("path")


def search_seconds(origin: pathlib.Path | None) -> float | None:
    """Duration of the search in a run directory, or of that before a retraining.

    Args:
      origin: run directory, or None.

    Raises:
      ValueError: the file was altered.
    """
    summary = _read_object(origin, "summary.json")
    seconds = summary.get("search_seconds", summary.get("seconds"))
    if seconds is None:
        return None
    if type(seconds) not in (int, float) or not 0 <= seconds < math.inf:
        raise ValueError(
            f"{origin / 'summary.json'} was altered: its seconds are {seconds!r}, and "
            f"should be a number from 0. Name another run, or its genotype.json."
        )
    return seconds


def _read_object(origin: pathlib.Path | None, name: str) -> dict:
    """The JSON object in a file of a run directory; empty where there is no file."""
    if origin is None or not (origin / name).is_file():
        return {}
    hint = "The file was altered: name another run, or a copy of its genotype.json."
    return records.read_object(origin / name, hint)
