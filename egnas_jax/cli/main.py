"""Parses the command line: `egnas ...` or `python -m egnas_jax ...`."""

import argparse
import functools
import pathlib
from collections.abc import Callable

from egnas_jax.cli import (
    doctor,
    evaluate,
    latency_table,
    nasbench201,
    noise,
    proxies,
    report,
    retrain,
    search,
    select,
    study,
    watch,
)
from egnas_jax.cli.console import (
    DONE,
    FAILED,
    INTERRUPTED,
    UNUSABLE,
    add_data_arguments,
    check_folders,
    check_run,
    make_printable,
    read_genotype,
    say,
    use_compilation_cache,
)
from egnas_jax.cli.epoch_bars import EpochBars
from egnas_jax.cli.epoch_lines import search_line
from egnas_jax.cli.interruption import interruptible
from egnas_jax.cli.plugin_options import (
    add_plugin_argument,
    add_plugin_arguments,
    plugins_of_command,
)
from egnas_jax.lookup import check_known


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
    """Says what is wrong in two lines, without the whole usage."""

    def error(self, message):
        say(f"{self.prog}: {message}\nSee {self.prog} --help.")
        raise SystemExit(UNUSABLE)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="egnas", description="EG-NAS: search a cell for image classification."
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
    add("derive", _derive, _derive_arguments)
    add("draw", _draw, _draw_arguments)
    add("verify", _verify, _verify_arguments)
    add("data", _data, _data_arguments)
    add("list", _list, _list_arguments)
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
    "list": "list presets, strategies, variants, spaces, primitives, the zoo",
    "doctor": "examine whether searches can run on this machine",
}


def _derive_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("run", metavar="RUN")
    text = "of the Pareto front in RUN/front.json: knee, or its number there"
    add("--point", metavar="knee|N", help=text)


def _draw_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("genotype", metavar="GENOTYPE", help="zoo name, text, file, run")
    add("--out", required=True, metavar="FILE.svg")


def _verify_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("run", metavar="RUN")
    add_data_arguments(parser)
    text = "replay every epoch, not only those since the oldest checkpoint"
    add("--from-start", action="store_true", help=text)


def _data_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "action",
        choices=("prepare", "show"),
        help="prepare: convert official files to a tensorflow-datasets directory, or "
        "the archive of NAS-Bench-201 to an .npz; show: draw images of each class",
    )
    text = "data set (default: cifar10); prepare also takes imagenet and nasbench201"
    add("--name", default="cifar10", help=text)
    add("--path", help="show: your own .npz file, instead of --name")
    text = "show: NHWC states that the images of --path are [N, H, W, C]"
    add("--layout", help=text)
    add("--data-dir", help="folder with the official files; prepare requires it")
    text = "prepare: folder to write (nasbench201: .npz file); show: .png file"
    add("--out", required=True, help=text)
    text = "prepare imagenet: leave out and list images that cannot be read"
    add("--skip-broken", action="store_true", help=text)


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", nargs="?", metavar="KIND")


def _derive(options) -> None:
    if options.point is not None:
        from egnas_jax.runs.front import read_point

        print(read_point(pathlib.Path(options.run), options.point))
        return
    print(read_genotype(options.run).format())


def _draw(options) -> None:
    from egnas_jax.runs.genotype_source import caption_of_source
    from egnas_jax.space import draw_svg
    from egnas_jax.storage import records

    genotype = read_genotype(options.genotype)
    svg = draw_svg(genotype, caption_of_source(options.genotype))
    if not options.out.endswith(".svg"):
        raise ValueError(f"--out is {options.out!r}, but must end in .svg.")
    out = pathlib.Path(options.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    records.write_text(out, svg)


def _verify(options) -> int:
    check_run(options.run)
    check_folders(options, ("data_dir",))
    from egnas_jax.runs.data import with_moved_data
    from egnas_jax.runs.directory import stored_config
    from egnas_jax.runs.verify import verify_run
    from egnas_jax.settings import assignments

    folder = pathlib.Path(options.run)
    config = with_moved_data(stored_config(folder), assignments(options.overrides))
    use_compilation_cache()
    with EpochBars(config.epochs, search_line) as bars:
        first, last, wrong = verify_run(
            config,
            folder,
            data_dir=options.data_dir,
            from_start=options.from_start,
            on_epoch=bars.on_epoch,
            log=say,
        )
    for line in wrong:
        say(line)
    replayed = f"Epochs {first + 1} to {last + 1} were replayed"
    if wrong:
        print(f"{replayed}; {len(wrong)} came out different.")
        say(
            "Digests hold for the commit, versions, processor and flags in "
            "environment.json."
        )
        return FAILED
    print(f"{replayed}; every digest is the same.")
    if first > 0:
        say("--from-start replays the epochs before them too.")
    return DONE


PREPARED = ("cifar10", "cifar100", "imagenet", "nasbench201")


def _data(options) -> None:
    if options.action == "prepare":
        check_known(PREPARED, options.name, "data set to prepare")
        if options.data_dir is None:
            raise ValueError(
                "data prepare needs --data-dir, a folder with the official files."
            )
    from egnas_jax.data.config import DataConfig
    from egnas_jax.data.files.prepare import prepare
    from egnas_jax.data.files.prepare_folders import prepare_folders
    from egnas_jax.data.show import contact_sheet
    from egnas_jax.data.source import load_dataset
    from egnas_jax.studies.nasbench201.archive import prepare_table

    if options.action == "show":
        config = DataConfig(
            name=options.name, pad=0, path=options.path, layout=options.layout
        )
        contact_sheet(load_dataset(config, options.data_dir), out=options.out)
    elif options.name == "nasbench201":
        prepare_table(options.data_dir, options.out, say)
    elif options.name == "imagenet":
        prepare_folders(
            options.data_dir, options.out, skip_broken=options.skip_broken, log=say
        )
    else:
        prepare(options.name, options.data_dir, options.out)
    print(options.out)


def _with_label(name: str, label: str) -> str:
    return name if label == name else f"{name} ({label})"


def _list(options) -> None:
    # none of these modules imports JAX, so the command answers at once
    from egnas_jax.lookup import lookup
    from egnas_jax.nn.kernels import CHOICES
    from egnas_jax.proxies.names import NAMES
    from egnas_jax.runs.presets import PRESETS, RECIPES
    from egnas_jax.space import SPACES, zoo
    from egnas_jax.space.primitive_names import FAMILIES
    from egnas_jax.strategies import STRATEGIES
    from egnas_jax.strategies.egnas.variants import VARIANTS
    from egnas_jax.strategies.labels import label_of
    from egnas_jax.studies.nasbench201.method_table import METHODS
    from egnas_jax.studies.selection.selectors import SELECTORS

    tables = {
        "presets": PRESETS,
        "recipes": RECIPES,
        "strategies": [_with_label(name, label_of(name)) for name in STRATEGIES],
        "variants": VARIANTS,
        "spaces": SPACES,
        "primitives": [f"{name} ({family})" for name, family in FAMILIES.items()],
        "lowerings": CHOICES,
        "zoo": zoo,
        "methods": METHODS,
        "selectors": SELECTORS,
        "proxies": NAMES,
    }
    if options.kind is not None:
        tables = {options.kind: lookup(tables, options.kind, "kind")}
    for name, entries in tables.items():
        print(f"{name}: {', '.join(entries)}")
