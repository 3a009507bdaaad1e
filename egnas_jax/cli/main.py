"""Parses the command line: `egnas ...` or `python -m egnas_jax ...`."""

import argparse
import functools
from collections.abc import Callable

from egnas_jax.cli import (
    data,
    doctor,
    evaluate,
    genotypes,
    latency_table,
    names,
    nasbench201,
    noise,
    proxies,
    report,
    retrain,
    search,
    select,
    study,
    verify,
    watch,
)
from egnas_jax.cli.console import (
    DONE,
    FAILED,
    INTERRUPTED,
    UNUSABLE,
    make_printable,
    say,
)
from egnas_jax.cli.interruption import interruptible
from egnas_jax.cli.plugin_options import (
    add_plugin_argument,
    add_plugin_arguments,
    plugins_of_command,
)


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    make_printable()
    options = _parser().parse_args(arguments)
    if getattr(options, "distributed", False):
        from egnas_jax.cli.distributed import supervised

        return supervised(functools.partial(_run, options))
    return _run(options)


def _run(options) -> int:
    try:
        with interruptible(), plugins_of_command(options):
            return options.command(options) or DONE
    except KeyboardInterrupt as stop:  # that of the loop says what it saved
        say(str(stop) or "Interrupted.")
        return INTERRUPTED
    except Exception as error:
        if options.debug:
            raise
        say(f"egnas: {error}{_place_in_plugin(error)}")
        return UNUSABLE if isinstance(error, (ValueError, OSError)) else FAILED


def _place_in_plugin(error: Exception) -> str:
    """Where a plug-in raised the error, if one did and the message does not say."""
    from egnas_jax.runs.plugins import plugin_place

    place = plugin_place(error)
    return f"\nRaised in the plug-in, {place}." if place else ""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors have two lines, without the whole usage."""

    def error(self, message):
        say(f"{self.prog}: {message}\nSee {self.prog} --help.")
        raise SystemExit(UNUSABLE)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="egnas",
        description="Searches cells for image classification, by EG-NAS or one of ten "
        "other methods.",
    )
    add_plugin_argument(parser, "plugins_before")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, function: Callable, add_arguments: Callable) -> None:
        command = subparsers.add_parser(name, help=HELP[name], description=HELP[name])
        command.set_defaults(command=function)
        command.add_argument("--debug", action="store_true", help="show tracebacks")
        add_arguments(command)
        add_plugin_arguments(command)

    add("search", search.search, search.search_arguments)
    add("retrain", retrain.retrain, retrain.retrain_arguments)
    add("sweep", study.sweep, study.sweep_arguments)
    add("worker", study.worker, study.worker_arguments)
    add("evaluate", evaluate.evaluate, evaluate.evaluate_arguments)
    add("export", evaluate.export, evaluate.export_arguments)
    add("watch", watch.watch, watch.watch_arguments)
    add("report", report.report, report.report_arguments)
    add("select", select.select, select.select_arguments)
    add("noise", noise.noise, noise.noise_arguments)
    table = nasbench201
    add("table-search", table.table_search, table.table_search_arguments)
    add("rank-correlation", table.rank_correlation, table.rank_arguments)
    add("proxies", proxies.proxies, proxies.proxies_arguments)
    latencies = latency_table
    add("latency-table", latencies.latency_table, latencies.latency_table_arguments)
    add("derive", genotypes.derive, genotypes.derive_arguments)
    add("draw", genotypes.draw, genotypes.draw_arguments)
    add("verify", verify.verify, verify.verify_arguments)
    add("data", data.data, data.data_arguments)
    add("list", names.list_names, names.list_arguments)
    add("doctor", doctor.doctor, doctor.doctor_arguments)
    return parser


HELP = {
    "search": "search a genotype; `egnas list` shows all names",
    "retrain": "train a genotype from scratch",
    "sweep": "write the runs of a plan as units for workers",
    "worker": "run units of a study, beside other workers",
    "evaluate": "evaluate a trained network",
    "export": "write a trained network for others",
    "watch": "follow runs that other processes carry out",
    "report": "tables and figures of runs",
    "select": "select cells from a searched supernet by several rules",
    "noise": "measure what one fitness batch is worth",
    "table-search": "many searches at once in the table of NAS-Bench-201",
    "rank-correlation": "how well a supernet ranks cells, by the table",
    "proxies": "score cells without training them",
    "latency-table": "measure what primitives take on this device",
    "derive": "print the genotype of a run",
    "draw": "draw a genotype as SVG",
    "verify": "replay a run and compare its digests",
    "data": "convert official files, or draw sample images",
    "list": "list what options can name: strategies, presets, spaces, the zoo, ...",
    "doctor": "examine whether searches can run on this machine",
}
