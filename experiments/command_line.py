"""Holds the options and the argument types that experiments share."""

import argparse
import math
import pathlib

from egnas_jax.settings import assignments


def make_parser(text: str) -> argparse.ArgumentParser:
    """A parser with --out and --record.

    Args:
      text: docstring of the experiment, whose first line describes it.
    """
    parser = argparse.ArgumentParser(description=text.splitlines()[0])
    parser.add_argument("--out", type=absolute, required=True, help="folder of all")
    parser.add_argument(
        "--record",
        action="store_true",
        help="also write experiments/results, for docs/results.md",
    )
    return parser


def positive(text: str) -> int:
    """Type of a number that is at least 1."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return int(text)


def minutes(text: str) -> float:
    """Type of a number of minutes."""
    if not 0 <= float(text) < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no number of minutes")
    return float(text)


def setting(text: str) -> str:
    """Type of PATH=VALUE; seeds are left to --seeds."""
    try:
        settings = assignments([text])
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if "seed" in settings:
        raise argparse.ArgumentTypeError("seeds are counted by --seeds, from 0")
    return text


def absolute(text: str) -> pathlib.Path:
    """Type of a path that is the same from wherever the experiment is called."""
    return pathlib.Path(text).absolute()


def absolute_text(text: str) -> str:
    """Type of such a path that is passed on as text."""
    return str(absolute(text))
