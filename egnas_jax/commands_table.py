"""The commands that need a benchmark's table: `egnas table-search`."""

import argparse
import json
import pathlib
import time

from egnas_jax.console import check_folders, running, say, use_compilation_cache


def table_search_arguments(parser: argparse.ArgumentParser) -> None:
    """What `egnas table-search` takes."""
    add = parser.add_argument
    add("--table", required=True, metavar="FILE.npz",
        help="the results of NAS-Bench-201, a file of your own")  # fmt: skip
    add("--strategy", action="append", default=[], metavar="NAME",
        help="egnas, random_search, ageing_evolution; repeatable (all)")  # fmt: skip
    add("--variant", metavar="NAME", help="which reading of EG-NAS (paper)")
    add("--dataset", metavar="NAME",
        help="cifar10, cifar100, imagenet16_120 (cifar10)")  # fmt: skip
    add("--runs", type=int, metavar="N", help="of every method and setting")
    add("--queries", type=int, metavar="N", help="cells priced in a run")
    add("--set", action="append", default=[], metavar="PATH=VALUE", dest="overrides",
        help="change one setting; --print-config lists them")  # fmt: skip
    add("--sweep", action="append", default=[], metavar="egnas.NAME=V1,V2,...",
        help="numbers of EG-NAS, every combination in one program")  # fmt: skip
    add("--out", metavar="DIR", help="(default: runs/table-DATASET)")
    add("--print-config", action="store_true",
        help="print the configuration and leave")  # fmt: skip
    add("--json", action="store_true", help="print one JSON object and nothing else")


def table_search(options: argparse.Namespace) -> None:
    """Many runs of several methods on the table, with their curves and regrets."""
    from egnas_jax import record
    from egnas_jax.config import as_dict
    from egnas_jax.tabular import config, figure, report, search, statistics
    from egnas_jax.tabular.read import read_table
    from egnas_jax.tabular.table import DATASETS

    check_folders(options, ("out",))
    given = [
        f"{name}={getattr(options, name)}"
        for name in ("dataset", "runs", "queries")
        if getattr(options, name) is not None
    ]
    settings = config.build(options.variant, [*options.overrides, *given])
    methods = config.chosen_methods(options.strategy)
    points = config.grid(settings, options.sweep)
    if options.sweep and "egnas" not in methods:
        raise ValueError("--sweep is of egnas, which --strategy leaves out.")
    if options.print_config:
        print(json.dumps(as_dict(settings), indent=2))
        return
    table = read_table(options.table, settings.dataset)
    out = pathlib.Path(options.out or f"runs/table-{settings.dataset}")
    use_compilation_cache()
    optimum, entries = float(table.test.max()), []
    shown = statistics.shown_queries(settings.queries)
    for name in methods:
        own, started = points if name == "egnas" else [{}], time.perf_counter()
        with running():
            curves = search.run_method(table, settings, name, own, shown)
        seconds = time.perf_counter() - started
        say(f"{name}: {len(own) * settings.runs} runs of {settings.queries} queries in "
            f"{seconds:.1f} s, compilation included")  # fmt: skip
        found = report.summarise(name, own, curves, shown, optimum)
        entries += [entry | {"seconds": seconds} for entry in found]
    whole = record.plain({
        "dataset": settings.dataset, "optimum": optimum, "level": statistics.LEVEL,
        "config": as_dict(settings), "entries": entries,
    })  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    title = f"NAS-Bench-201, {DATASETS[settings.dataset]}, {settings.runs} runs each"
    record.write_json(out / "curves.json", whole)
    record.write_text(out / "curves.csv", report.as_csv(entries))
    record.write_text(out / "curves.svg", figure.draw_curves(entries, title))
    if options.json:
        print(json.dumps(whole))
        return
    print(report.markdown(entries, optimum), end="")
    print(f"Figures: {out}/curves.json, {out}/curves.csv\nPicture: {out}/curves.svg")
