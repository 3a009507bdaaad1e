"""Implements `egnas doctor`, which examines what a search needs from this machine."""

import argparse
import json
import textwrap

from egnas_jax.cli.console import DONE, FAILED
from egnas_jax.cli.doctor_checks import CHECKS, Finding, examine, tiny_search

MARKS = {"ok": "ok  ", "note": "note", "bad": "BAD "}
WIDTH = 100


def doctor_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `egnas doctor`."""
    add = parser.add_argument
    add("--json", action="store_true", help="print one JSON object")
    add("--no-search", action="store_true", help="leave the tiny search out")


def doctor(options: argparse.Namespace) -> int:
    """Prints what was found; fails where something does not work."""
    left_out = {tiny_search} if options.no_search else set()
    findings = examine(tuple(check for check in CHECKS if check not in left_out))
    if options.json:
        print(json.dumps({each.name: _as_dict(each) for each in findings}))
    else:
        for finding in findings:
            print(_as_text(finding))
    return FAILED if any(each.state == "bad" for each in findings) else DONE


def _as_dict(finding: Finding) -> dict[str, str]:
    return {key: value for key, value in finding._asdict().items() if key != "name"}


def _as_text(finding: Finding) -> str:
    head = f"{MARKS[finding.state]}  {finding.name:<13}  "
    body = f"{finding.text}.{finding.advice and f' {finding.advice}'}"
    return textwrap.fill(
        body,
        WIDTH,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
    )
