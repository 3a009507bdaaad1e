"""Implements `egnas report`, which writes tables and figures of finished runs."""

import argparse

from egnas_jax.cli.console import check_folders


def report_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `egnas report`."""
    add = parser.add_argument
    add("runs", nargs="+", metavar="RUN", help="run, folder of runs, or metrics.jsonl")
    files = "gets report.html, report.md, figures and data"
    add("--out", required=True, metavar="DIR", help=files)


def report(options: argparse.Namespace) -> None:
    """Writes a report and prints the path of its page."""
    from egnas_jax.studies.report.write import write_report

    check_folders(options, ("out",))
    print(write_report(options.runs, options.out))
