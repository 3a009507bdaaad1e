"""The commands that need a benchmark's table: `egnas table-search`,
`egnas rank-correlation`."""

import argparse
import json
import pathlib
import time

from egnas_jax.cli.console import (
    check_folders,
    check_writable,
    running,
    say,
    use_compilation_cache,
)


def table_search_arguments(parser: argparse.ArgumentParser) -> None:
    """What `egnas table-search` takes."""
    add = parser.add_argument
    add(
        "--table",
        required=True,
        metavar="FILE.npz",
        help="the results of NAS-Bench-201, a file of your own",
    )
    add(
        "--strategy",
        action="append",
        default=[],
        metavar="NAME",
        help="egnas, random_search, ageing_evolution; repeatable (all)",
    )
    add("--variant", metavar="NAME", help="which reading of EG-NAS (paper)")
    add("--dataset", metavar="NAME", help="cifar10, cifar100, imagenet16_120 (cifar10)")
    add("--runs", type=int, metavar="N", help="of every method and setting")
    add("--queries", type=int, metavar="N", help="cells evaluated in a run")
    add(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        dest="overrides",
        help="change one setting; --print-config lists them",
    )
    add(
        "--sweep",
        action="append",
        default=[],
        metavar="egnas.NAME=V1,V2,...",
        help="numbers of EG-NAS, every combination in one program",
    )
    add("--out", metavar="DIR", help="(default: runs/table-DATASET)")
    add("--print-config", action="store_true", help="print the configuration and leave")
    add("--json", action="store_true", help="print one JSON object and nothing else")


def table_search(options: argparse.Namespace) -> None:
    """Many runs of several methods on the table, with their curves and regrets."""
    from egnas_jax.settings import as_dict
    from egnas_jax.storage import records
    from egnas_jax.studies.nasbench201 import (
        config,
        figure,
        search,
        statistics,
        summary,
    )
    from egnas_jax.studies.nasbench201.read import read_table
    from egnas_jax.studies.nasbench201.table import DATASETS

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
    check_writable(out)
    use_compilation_cache()
    optimum, selected = (
        float(table.test.max()),
        summary.best_by_validation_regret(table),
    )
    entries = []
    shown = statistics.shown_queries(settings.queries)
    for name in methods:
        own, started = points if name == "egnas" else [{}], time.perf_counter()
        with running():
            curves = search.run_method(table, settings, name, own, shown)
        seconds = time.perf_counter() - started
        say(
            f"{name}: {len(own) * settings.runs} runs of {settings.queries} queries in "
            f"{seconds:.1f} s, compilation included"
        )
        found = summary.summarise(name, own, curves, shown, optimum)
        entries += [entry | {"seconds": seconds} for entry in found]
    whole = records.plain(
        {
            "dataset": settings.dataset,
            "optimum": optimum,
            "best_by_validation_regret": selected,
            "level": statistics.LEVEL,
            "config": as_dict(settings),
            "entries": entries,
        }
    )
    out.mkdir(parents=True, exist_ok=True)
    title = f"NAS-Bench-201, {DATASETS[settings.dataset]}, {settings.runs} runs each"
    records.write_json(out / "curves.json", whole)
    records.write_text(out / "curves.csv", summary.as_csv(entries))
    records.write_text(out / "curves.svg", figure.draw_curves(entries, selected, title))
    if options.json:
        print(json.dumps(whole))
        return
    print(summary.markdown(entries, optimum, selected), end="")
    print(f"Figures: {out}/curves.json, {out}/curves.csv\nPicture: {out}/curves.svg")


def rank_arguments(parser: argparse.ArgumentParser) -> None:
    """What `egnas rank-correlation` takes."""
    add = parser.add_argument
    add("run", metavar="RUN", help="what `egnas search --space nasbench201` wrote")
    add(
        "--table",
        required=True,
        metavar="FILE.npz",
        help="the results of NAS-Bench-201, a file of your own",
    )
    add(
        "--dataset",
        metavar="NAME",
        help="of the table (the run's own data set, else cifar10)",
    )
    add(
        "--sample",
        type=int,
        default=200,
        metavar="N",
        help="cells, 15625 for all (%(default)s)",
    )
    add(
        "--images",
        type=int,
        default=256,
        metavar="N",
        help="validation images (%(default)s)",
    )
    add(
        "--batch-stats",
        default="batch",
        metavar="NAME",
        help="batch norm: batch or running (%(default)s)",
    )
    add("--seed", type=int, default=0, help="of cells and images (%(default)s)")
    add("--data-dir", help="where the run's data are")
    add("--out", metavar="DIR", help="(default: into RUN)")
    add("--json", action="store_true", help="print one JSON object and nothing else")


def rank_correlation(options: argparse.Namespace) -> None:
    """Rank correlation of a supernet's scores with the table's accuracies."""
    from egnas_jax.runs import finished_search
    from egnas_jax.runs.directory import stored_config
    from egnas_jax.search.evaluate import check_options
    from egnas_jax.storage import records
    from egnas_jax.studies import rank_correlation
    from egnas_jax.studies.nasbench201 import figure
    from egnas_jax.studies.nasbench201.read import read_table
    from egnas_jax.studies.nasbench201.table import DATASETS

    check_folders(options, ("out", "data_dir"))
    for name, least in (("sample", 3), ("images", 2), ("seed", 0)):
        if getattr(options, name) < least:
            raise ValueError(
                f"--{name} is {getattr(options, name)}, but must be at least {least}."
            )
    check_options(options.batch_stats, None, None)
    folder = pathlib.Path(options.run)
    config = stored_config(folder)
    rank_correlation.check_space(folder, config)
    own = config.data
    known = own.path is None and own.name in DATASETS
    dataset = options.dataset or (own.name if known else "cifar10")
    table = read_table(options.table, dataset)
    out = folder if options.out is None else pathlib.Path(options.out)
    check_writable(out)
    use_compilation_cache()
    loaded = finished_search.load(folder, options.data_dir, say)
    ranked = rank_correlation.of_run(loaded, options.images, options.seed)
    with running():
        found = rank_correlation.rank(
            ranked,
            table,
            sample=options.sample,
            seed=options.seed,
            batch_stats=options.batch_stats,
        )
    result = records.plain({"run": str(folder), "dataset": dataset, **found})
    out.mkdir(parents=True, exist_ok=True)
    title = f"{result['cells']} cells, {DATASETS[dataset]}, {result['epochs']} epochs"
    records.write_json(out / "rank_correlation.json", result)
    records.write_text(out / "rank_correlation.svg", figure.draw_ranks(found, title))
    if options.json:
        print(json.dumps(result))
        return
    print("| supernet | table | Kendall's tau | Spearman's rho |\n|---|---|---|---|")
    for entry in found["correlations"]:
        shown = " | ".join(
            f"{entry[name]['value']:.3f} ({entry[name]['low']:.3f} to "
            f"{entry[name]['high']:.3f})"
            for name in ("kendall", "spearman")
        )
        print(f"| {entry['supernet']} | {entry['table']} | {shown} |")
    print(f"Figures: {out}/rank_correlation.json\nPicture: {out}/rank_correlation.svg")
