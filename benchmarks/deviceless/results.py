"""Reads what an earlier run of the command wrote."""

import json
import pathlib


def load_programs(file: pathlib.Path, card: str, size: str) -> dict[str, dict]:
    """Reads the predictions of a --json file: program and precision -> its numbers.

    Args:
      file: the file.
      card, size: of the run that they are compared with.

    Raises:
      ValueError: it is no such file, or it is of another card or size.
    """
    try:
        results = json.loads(file.read_text())
        programs, settings = results["programs"], results["settings"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{file} cannot be read as predictions. Name a file that "
            f"`python -m benchmarks.deviceless --json` wrote."
        ) from error
    if (settings["card"], settings["size"]) != (card, size):
        raise ValueError(
            f"{file} is of card {settings['card']}, size {settings['size']}, but this "
            f"run is of card {card}, size {size}. Name a file of the same two."
        )
    return programs
