"""The command that tells what runs came to: `egnas report`."""

import argparse

from egnas_jax.cli.console import check_folders


def report_arguments(parser: argparse.ArgumentParser) -> None:
    """What `egnas report` takes."""
    add = parser.add_argument
    add(
        "runs",
        nargs="+",
        metavar="RUN",
        help="a run, a folder of several, or a metrics.jsonl",
    )
    add(
        "--out",
        required=True,
        metavar="DIR",
        help="gets report.html, report.md, figures and data",
    )


def report(options: argparse.Namespace) -> None:
    """Writes a report and prints where its page is."""
    from egnas_jax.studies.report.write import write_report

    check_folders(options, ("out",))
    print(write_report(options.runs, options.out))
