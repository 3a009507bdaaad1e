"""Reads what an earlier run of the command wrote."""

import json
import pathlib

from benchmarks.deviceless.report import COLUMNS


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
        earlier = settings["card"], settings["size"]
        rows = list(programs.values())
        if any({key for key, *_ in COLUMNS} - row.keys() for row in rows):
            raise ValueError("numbers are missing")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{file} cannot be read as predictions. Name a file that "
            f"`python -m benchmarks.deviceless --json` wrote."
        ) from error
    if earlier != (card, size):
        raise ValueError(
            f"{file} is of card {earlier[0]}, size {earlier[1]}, but this run is of "
            f"card {card}, size {size}. Name a file of the same two."
        )
    return programs
