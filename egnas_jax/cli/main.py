"""Parses the command line: `egnas ...` or `python -m egnas_jax ...`."""

import argparse
import functools
import pathlib

from egnas_jax.cli import evaluate, nasbench201, noise, report, retrain, search
from egnas_jax.cli.console import (
    DONE,
    FAILED,
    INTERRUPTED,
    UNUSABLE,
    read_genotype,
    say,
    use_compilation_cache,
)


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    options = _parser().parse_args(arguments)
    if getattr(options, "distributed", False):
        from egnas_jax.cli.distributed import supervised

        return supervised(functools.partial(_run, options))
    return _run(options)


def _run(options) -> int:
    try:
        return options.command(options) or DONE
    except KeyboardInterrupt as stop:  # that of the loop says what it saved
        say(str(stop) or "Interrupted.")
        return INTERRUPTED
    except Exception as error:
        if options.debug:
            raise
        say(f"egnas: {error}")
        return UNUSABLE if isinstance(error, (ValueError, OSError)) else FAILED


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in two lines, without the whole usage."""

    def error(self, message):
        say(f"{self.prog}: {message}\nSee {self.prog} --help.")
        raise SystemExit(UNUSABLE)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="egnas", description="EG-NAS: search a cell for image classification."
    )
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name, function, text, arguments=None):
        sub = subparsers.add_parser(name, help=text, description=text)
        sub.set_defaults(command=function)
        sub.add_argument("--debug", action="store_true", help="show tracebacks")
        if arguments is not None:
            arguments(sub)
        return sub

    add(
        "search",
        search.search,
        "search a genotype; `egnas list` shows all names",
        search.search_arguments,
    )
    add(
        "retrain",
        retrain.retrain,
        "train a genotype from scratch",
        retrain.retrain_arguments,
    )
    add(
        "evaluate",
        evaluate.evaluate,
        "evaluate a trained network",
        evaluate.evaluate_arguments,
    )
    add(
        "export",
        evaluate.export,
        "write a trained network for others",
        evaluate.export_arguments,
    )
    add("report", report.report, "tables and figures of runs", report.report_arguments)
    add(
        "noise",
        noise.noise,
        "measure what one fitness batch is worth",
        noise.noise_arguments,
    )
    add(
        "table-search",
        nasbench201.table_search,
        "many searches at once in the table of NAS-Bench-201",
        nasbench201.table_search_arguments,
    )
    add(
        "rank-correlation",
        nasbench201.rank_correlation,
        "how well a supernet ranks cells, by the table",
        nasbench201.rank_arguments,
    )
    derived = add("derive", _derive, "print the genotype of a run")
    derived.add_argument("run", metavar="RUN")
    draw = add("draw", _draw, "draw a genotype as SVG")
    draw.add_argument("genotype", metavar="GENOTYPE", help="zoo name, text, file, run")
    draw.add_argument("--out", required=True, metavar="FILE.svg")
    verify = add("verify", _verify, "replay a run and compare its digests")
    verify.add_argument("run", metavar="RUN")
    verify.add_argument("--data-dir", help="where the run's data are")
    verify.add_argument(
        "--from-start",
        action="store_true",
        help="replay every epoch, not only those since the oldest checkpoint",
    )
    data = add("data", _data, "convert official files, or draw sample images")
    data.add_argument(
        "action",
        choices=("prepare", "show"),
        help="prepare: convert official files to a tensorflow-datasets directory, or "
        "the archive of NAS-Bench-201 to an .npz; show: draw images of each class",
    )
    data.add_argument(
        "--name",
        default="cifar10",
        help="data set (default: cifar10); prepare also takes imagenet and nasbench201",
    )
    data.add_argument("--path", help="show: your own .npz file, instead of --name")
    data.add_argument(
        "--data-dir", help="folder with the official files; prepare requires it"
    )
    data.add_argument(
        "--out",
        required=True,
        help="prepare: folder to write (nasbench201: .npz file); show: .png file",
    )
    listed = add("list", _list, "list presets, strategies, variants, spaces, the zoo")
    listed.add_argument("kind", nargs="?", metavar="KIND")
    return parser


def _derive(options) -> None:
    print(read_genotype(options.run).format())


def _draw(options) -> None:
    from egnas_jax.space import draw_svg
    from egnas_jax.storage import records

    svg = draw_svg(read_genotype(options.genotype))
    if not options.out.endswith(".svg"):
        raise ValueError(f"--out is {options.out!r}, but must end in .svg.")
    out = pathlib.Path(options.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    records.write_text(out, svg)


def _verify(options) -> int:
    from egnas_jax.runs.directory import stored_config
    from egnas_jax.runs.search_setup import set_up_search
    from egnas_jax.runs.verify import verify

    folder = pathlib.Path(options.run)
    config = stored_config(folder)
    use_compilation_cache()
    setup = set_up_search(
        config,
        data_dir=options.data_dir,
        folder=folder,
        on_epoch=search.progress_printer(config.epochs, quiet=False),
        log=say,
    )
    first, last, wrong = verify(setup.run, from_start=options.from_start)
    for line in wrong:
        say(line)
    replayed = f"Epochs {first + 1} to {last + 1} were replayed"
    if wrong:
        print(f"{replayed}; {len(wrong)} came out different.")
        say("Digests hold for the versions, processor and flags in environment.json.")
        return FAILED
    print(f"{replayed}; every digest is the same.")
    return DONE


def _data(options) -> None:
    from egnas_jax.data.config import DataConfig
    from egnas_jax.data.files.prepare import prepare
    from egnas_jax.data.files.prepare_folders import prepare_folders
    from egnas_jax.data.show import contact_sheet
    from egnas_jax.data.source import load_dataset
    from egnas_jax.studies.nasbench201.archive import prepare_table

    if options.action == "show":
        config = DataConfig(name=options.name, path=options.path, pad=0)
        contact_sheet(load_dataset(config, options.data_dir), out=options.out)
    elif options.data_dir is None:
        raise ValueError(
            "data prepare needs --data-dir, a folder with the official files."
        )
    elif options.name == "nasbench201":
        prepare_table(options.data_dir, options.out, say)
    elif options.name == "imagenet":
        prepare_folders(options.data_dir, options.out)
    else:
        prepare(options.name, options.data_dir, options.out)
    print(options.out)


def _list(options) -> None:
    from egnas_jax.lookup import lookup
    from egnas_jax.nn import lowering
    from egnas_jax.runs.retrain_config import RECIPES
    from egnas_jax.runs.search_config import PRESETS
    from egnas_jax.space import SPACES, zoo
    from egnas_jax.strategies import STRATEGIES
    from egnas_jax.strategies.egnas.config import VARIANTS
    from egnas_jax.studies.nasbench201.methods import METHODS

    tables = {
        "presets": PRESETS,
        "recipes": RECIPES,
        "strategies": STRATEGIES,
        "variants": VARIANTS,
        "spaces": SPACES,
        "lowerings": lowering.CHOICES,
        "zoo": zoo,
        "methods": METHODS,
    }
    if options.kind is not None:
        tables = {options.kind: lookup(tables, options.kind, "kind")}
    for name, entries in tables.items():
        print(f"{name}: {', '.join(entries)}")
