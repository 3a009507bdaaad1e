"""Parses the options that the CPU benchmarks share: --quick and --json."""

import argparse
import json
import pathlib
from collections.abc import Callable
from typing import Any


def sized_command(
    doc: str, quick_help: str, quick: Any, full: Any
) -> tuple[Any, pathlib.Path | None]:
    """Returns the size to measure, `quick` or `full`, and the file of --json."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=quick_help)
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE")
    options = parser.parse_args()
    # before the measurement, which may take half an hour
    if options.json and not options.json.parent.is_dir():
        parser.error(f"--json: the folder {options.json.parent} does not exist.")
    return quick if options.quick else full, options.json


def publish(result: dict, report: Callable, json_file: pathlib.Path | None) -> None:
    """Prints a result as a table and writes it as JSON."""
    print(report(result))
    if json_file:
        json_file.write_text(json.dumps(result, indent=2) + "\n")
