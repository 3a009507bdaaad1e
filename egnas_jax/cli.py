"""The command line: `egnas ...` or `python -m egnas_jax ...`."""

import argparse
import functools
import json
import pathlib
import statistics
import time

from egnas_jax import commands, commands_judge, commands_table
from egnas_jax.console import (
    advising,
    check_run_options,
    read_genotype,
    run_folder,
    running,
    say,
    use_compilation_cache,
)

DONE, FAILED, UNUSABLE, INTERRUPTED = 0, 1, 2, 130


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; its exit code."""
    options = _parser().parse_args(arguments)
    try:
        return options.command(options) or DONE
    except KeyboardInterrupt as stop:  # the loop's own says what it saved
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

    def add(name, function, text):
        sub = subparsers.add_parser(name, help=text, description=text)
        sub.set_defaults(command=function)
        sub.add_argument("--debug", action="store_true", help="show tracebacks")
        return sub

    search = add("search", _search, "search a genotype; `egnas list` shows all names")
    search.add_argument("--preset", default="digits", metavar="NAME",
                        help="a whole run's settings (%(default)s)")  # fmt: skip
    search.add_argument("--strategy", default="egnas", metavar="NAME",
                        help="the search method (%(default)s)")  # fmt: skip
    search.add_argument("--variant", metavar="NAME",
                        help="which reading of EG-NAS (paper)")  # fmt: skip
    search.add_argument("--space", metavar="NAME",
                        help="what a cell is built from (the preset's)")  # fmt: skip
    search.add_argument("--data-dir", help="the only place to look for the data set")
    search.add_argument(
        "--set", action="append", default=[], metavar="PATH=VALUE", dest="overrides",
        help="change one setting; --print-config lists them",
    )  # fmt: skip
    search.add_argument("--seeds", type=int, default=1, metavar="N",
                        help="run N seeds; name the best by validation")  # fmt: skip
    search.add_argument("--out", help="run directory (default: runs/PRESET-seedN)")
    search.add_argument("--resume", action="store_true", help="go on with a run")
    search.add_argument("--restore", metavar="RUN",
                        help="start from the state of another run")  # fmt: skip
    search.add_argument("--stop-after", type=int, metavar="N",
                        help="end when N epochs are done, to be resumed")  # fmt: skip
    search.add_argument("--profile", metavar="DIR",
                        help="write traces of a few steady calls")  # fmt: skip
    search.add_argument("--print-config", action="store_true",
                        help="print the configuration and leave")  # fmt: skip
    search.add_argument("--json", action="store_true",
                        help="print one JSON object and nothing else")  # fmt: skip
    retrained = add("retrain", commands.retrain, "train a genotype from scratch")
    commands.retrain_arguments(retrained)
    judged = add("evaluate", commands_judge.evaluate, "judge a trained network")
    commands_judge.evaluate_arguments(judged)
    taken = add("export", commands_judge.export, "write a trained network for others")
    commands_judge.export_arguments(taken)
    tabled = add("table-search", commands_table.table_search,
                 "many searches at once in the table of NAS-Bench-201")  # fmt: skip
    commands_table.table_search_arguments(tabled)
    ranked = add("rank-correlation", commands_table.rank_correlation,
                 "how well a supernet ranks cells, by the table")  # fmt: skip
    commands_table.rank_arguments(ranked)
    derived = add("derive", _derive, "print the genotype of a run")
    derived.add_argument("run", metavar="RUN")
    draw = add("draw", _draw, "draw a genotype as SVG")
    draw.add_argument("genotype", metavar="GENOTYPE", help="zoo name, text, file, run")
    draw.add_argument("--out", required=True, metavar="FILE.svg")
    verify = add("verify", _verify, "replay a run and compare its digests")
    verify.add_argument("run", metavar="RUN")
    verify.add_argument("--data-dir", help="where the run's data are")
    verify.add_argument("--from-start", action="store_true",
                        help="replay every epoch, not only those since the oldest "
                        "checkpoint")  # fmt: skip
    data = add("data", _data, "prepare official files for tfds, or show samples")
    data.add_argument("action", choices=("prepare", "show"))
    data.add_argument("--name", default="cifar10", help="data set")
    data.add_argument("--path", help="show: an .npz of your own")
    data.add_argument("--data-dir", help="folder with the official files")
    data.add_argument("--out", required=True, help="prepare: a folder; show: a .png")
    listed = add("list", _list, "list presets, strategies, variants, spaces, the zoo")
    listed.add_argument("kind", nargs="?", metavar="KIND")
    return parser


def _search(options) -> int:
    from egnas_jax import config, exhausted, run

    check_run_options(options, ("out", "data_dir", "restore", "profile"))
    base = config.build(
        options.preset,
        options.strategy,
        options.variant,
        options.space,
        options.overrides,
    )
    if options.print_config:
        print(json.dumps(config.as_dict(base), indent=2))
        return DONE
    configs = [
        config.apply_overrides(base, [f"seed={base.seed + i}"])
        for i in range(options.seeds)
    ]
    folders = [run_folder(options, own.seed) for own in configs]
    for folder in folders:  # before the first search, not after it
        run.check_free(folder, resume=options.resume)
    use_compilation_cache()
    results = []
    for own, folder in zip(configs, folders, strict=True):
        started = time.perf_counter()
        report = _reporter(own, quiet=options.json)
        own, prepared = run.prepare(own, options.data_dir, folder, report)
        run.check_configuration(own, folder)
        start = run.find_start(prepared, options.restore, resume=options.resume)
        if options.profile:
            prepared = _profiled(options, own, prepared, start)
        advise = functools.partial(exhausted.advice, config=own, run=prepared)
        with run.claim(own, folder, start), running(), advising(advise):
            summary = run.execute(own, prepared, start, stop_after=options.stop_after)
        summary |= {"seed": own.seed, "run": str(folder),
                    "wall": time.perf_counter() - started}  # fmt: skip
        results.append(summary)
        if not options.json:
            _show(summary)
    best = max(results, key=lambda summary: summary["valid_accuracy"])
    if options.json:
        print(json.dumps(best | {"runs": results}))
    elif len(results) > 1:
        for summary in results:
            print(f"seed {summary['seed']}: {100 * summary['valid_accuracy']:.2f} %  "
                  f"{summary['run']}")  # fmt: skip
        print(f"Best by validation accuracy: seed {best['seed']}, {best['run']}")
    return DONE


def _profiled(options, config, prepared, start):
    """The run with traces; of each seed in a folder of its own where there are some."""
    from egnas_jax.search.profile import first_steady_epoch, profiled

    folder = pathlib.Path(options.profile)
    if options.seeds > 1:
        folder = folder / f"seed{config.seed}"
    done = int(start.progress.state.epoch) if start.progress else 0
    warmup = getattr(config.strategy, "warmup", 0)
    last = min(options.stop_after or config.epochs, config.epochs)
    epoch = first_steady_epoch(done, warmup, last)
    return prepared._replace(programs=profiled(prepared.programs, folder, epoch))


def _reporter(config, quiet: bool):
    """Prints each epoch's line with the time that is left, and notes."""
    seconds = []

    def report(line):
        if isinstance(line, str):
            return say(line)
        seconds.append(line["seconds"])
        # the first epoch of a process compiles: it only bounds the others
        pace = statistics.median(seconds[1:][-3:] or seconds)
        bound = "about" if seconds[1:] else "at most"
        left = pace * (config.epochs - line["epoch"] - 1)
        if not quiet:
            train, valid = (
                f"{part} {line[f'{part}_loss']:.3f} "
                f"{100 * line[f'{part}_accuracy']:5.1f} %"
                for part in ("train", "valid")
            )
            say(
                f"epoch {line['epoch'] + 1:>3}/{config.epochs}  {train}  {valid}  "
                f"{line['seconds']:.1f} s, {bound} {left:.0f} s left"
            )

    return report


def _show(summary: dict) -> None:
    run = summary["run"]
    print(summary["genotype"])
    print(
        f"Validation accuracy {100 * summary['valid_accuracy']:.1f} % "
        f"(chance {100 * summary['chance']:.1f} %, first epoch "
        f"{100 * summary['first_valid_accuracy']:.1f} %) after {summary['epochs']} "
        f"epochs, {summary['wall']:.0f} s."
    )
    print(f"Run: {run}\nDrawing: {run}/genotype.svg")


def _derive(options) -> None:
    print(read_genotype(options.run).format())


def _draw(options) -> None:
    from egnas_jax import record
    from egnas_jax.space import draw_svg

    svg = draw_svg(read_genotype(options.genotype))
    if not options.out.endswith(".svg"):
        raise ValueError(f"--out is {options.out!r}, but must end in .svg.")
    out = pathlib.Path(options.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(out, svg)


def _verify(options) -> int:
    from egnas_jax import run
    from egnas_jax.verify import verify

    folder = pathlib.Path(options.run)
    config = run.stored_config(folder)
    use_compilation_cache()
    _, prepared = run.prepare(
        config, options.data_dir, folder, _reporter(config, quiet=False)
    )
    first, last, wrong = verify(prepared, from_start=options.from_start)
    for line in wrong:
        say(line)
    replayed = f"Epochs {first + 1} to {last + 1} were replayed"
    if wrong:
        print(f"{replayed}; {len(wrong)} came out different.")
        return FAILED
    print(f"{replayed}; every digest is the same.")
    return DONE


def _data(options) -> None:
    from egnas_jax.data.config import DataConfig
    from egnas_jax.data.prepare import prepare
    from egnas_jax.data.prepare_folders import prepare_folders
    from egnas_jax.data.show import contact_sheet
    from egnas_jax.data.source import load_dataset
    from egnas_jax.tabular.archive import prepare_table

    if options.action == "show":
        config = DataConfig(name=options.name, path=options.path, pad=0)
        contact_sheet(load_dataset(config, options.data_dir), out=options.out)
    elif options.data_dir is None:
        raise ValueError("data prepare takes --data-dir with the official files.")
    elif options.name == "nasbench201":
        prepare_table(options.data_dir, options.out, say)
    elif options.name == "imagenet":
        prepare_folders(options.data_dir, options.out)
    else:
        prepare(options.name, options.data_dir, options.out)
    print(options.out)


def _list(options) -> None:
    from egnas_jax.config import PRESETS
    from egnas_jax.lookup import lookup
    from egnas_jax.nn import lowering
    from egnas_jax.recipes import RECIPES
    from egnas_jax.space import SPACES, zoo
    from egnas_jax.strategies import STRATEGIES
    from egnas_jax.strategies.egnas_config import VARIANTS
    from egnas_jax.tabular.methods import METHODS

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
    for name, table in tables.items():
        print(f"{name}: {', '.join(table)}")
