"""The command line that the benchmarks of a CPU share: --quick and --json."""

import argparse
import json
import pathlib
from collections.abc import Callable
from typing import Any


def sized_command(
    doc: str, quick_help: str, quick: Any, full: Any
) -> tuple[Any, pathlib.Path | None]:
    """The size that was asked for, `quick` or `full`, and the file of --json."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=quick_help)
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE")
    options = parser.parse_args()
    if options.json and not options.json.parent.is_dir():  # now, not half an hour later
        parser.error(f"--json: there is no folder {options.json.parent}.")
    return quick if options.quick else full, options.json


def publish(result: dict, report: Callable, json_file: pathlib.Path | None) -> None:
    """Prints the report of a result and writes the result itself."""
    print(report(result))
    if json_file:
        json_file.write_text(json.dumps(result, indent=2) + "\n")
