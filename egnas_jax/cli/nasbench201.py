"""Implements `egnas table-search` and `egnas rank-correlation`.

Both need the table of NAS-Bench-201.
"""

import argparse
import json
import pathlib
import time

from egnas_jax.cli.console import (
    add_data_arguments,
    check_folders,
    check_run,
    check_writable,
    say,
    use_compilation_cache,
)
from egnas_jax.studies.nasbench201.method_table import METHODS

TABLE_HELP = "table made by `egnas data prepare --name nasbench201`"
JSON_HELP = "print one JSON object and nothing else"
REPEATED = dict(action="append", default=[])
COUNT = dict(type=int, metavar="N")
RANK_COLUMNS = "supernet|table|Kendall's tau|Spearman's rho"


def table_search_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `egnas table-search`."""
    add = parser.add_argument
    add("--table", required=True, metavar="FILE.npz", help=TABLE_HELP)
    names = f"{', '.join(METHODS)}; repeatable (all)"
    add("--strategy", **REPEATED, metavar="NAME", help=names)
    add("--variant", metavar="NAME", help="variant of EG-NAS (paper)")
    add("--dataset", metavar="NAME", help="cifar10, cifar100, imagenet16_120 (cifar10)")
    add("--runs", **COUNT, help="runs of every method and setting (500)")
    add("--queries", **COUNT, help="cells evaluated in a run (1000)")
    setting = dict(metavar="PATH=VALUE", dest="overrides")
    add("--set", **REPEATED, **setting, help="change one setting; see --print-config")
    sweep = "hyperparameters of EG-NAS, every combination in one program"
    add("--sweep", **REPEATED, metavar="egnas.NAME=V1,V2,...", help=sweep)
    scores = "search by scores of this file, proxies.json of egnas proxies --cells all"
    add("--scores", metavar="FILE.json", help=scores)
    add("--proxy", metavar="NAME", help="proxy whose scores of --scores are searched")
    add("--out", metavar="DIR", help="(default: runs/table-DATASET)")
    add("--print-config", action="store_true", help="print the configuration and exit")
    add("--json", action="store_true", help=JSON_HELP)


def table_search(options: argparse.Namespace) -> None:
    """Runs several methods many times on the table; writes curves and regrets."""
    from egnas_jax.settings import as_dict
    from egnas_jax.studies.nasbench201 import table_search_config
    from egnas_jax.studies.nasbench201.read import read_table

    check_folders(options, ("out",))
    if (options.scores is None) != (options.proxy is None):
        raise ValueError(
            "--scores names a file with the scores of proxies, and --proxy one of "
            "them: give both, or neither."
        )
    named = [
        f"{name}={getattr(options, name)}"
        for name in ("dataset", "runs", "queries")
        if getattr(options, name) is not None
    ]
    config = table_search_config.build(options.variant, [*options.overrides, *named])
    methods = table_search_config.chosen_methods(options.strategy)
    settings = table_search_config.grid(config, options.sweep)
    for name in ("sweep", "variant"):
        if getattr(options, name) and "egnas" not in methods:
            raise ValueError(f"--{name} is of egnas, which --strategy leaves out.")
    table_search_config.check_methods(config, methods, options.overrides)
    if options.print_config:
        print(json.dumps(as_dict(config), indent=2))
        return
    table = _with_scores(options, read_table(options.table, config.dataset))
    out = pathlib.Path(options.out or f"runs/table-{config.dataset}")
    check_writable(out)
    use_compilation_cache()
    seen = "valid_accuracy" if options.proxy is None else "score"
    entries = []
    for name in methods:
        of_method = settings if name == "egnas" else [{}]
        entries += _search(table, config, name, of_method, seen)
    _write_search(options, out, config, table, entries)


def _with_scores(options, table):
    """The table, with a proxy's scores for validation accuracies if it is asked for."""
    from egnas_jax.studies.nasbench201 import scored_table

    if options.scores is None:
        return table
    scores = scored_table.read_scores(options.scores, options.proxy, table)
    return scored_table.with_scores(table, scores)


def _search(table, config, name: str, settings: list[dict], seen: str) -> list[dict]:
    """Entries of one method, one for each setting; `seen`: see `summarise_method`."""
    from egnas_jax.runs.failures import running
    from egnas_jax.studies.nasbench201 import table_search, table_search_config
    from egnas_jax.studies.nasbench201.summary import summarise_method

    at_queries = table_search.log_spaced_queries(config.queries)
    started = time.perf_counter()
    with running():
        curves = table_search.run_method(table, config, name, settings, at_queries)
    seconds = time.perf_counter() - started
    say(
        f"{name}: {len(settings) * config.runs} runs of {config.queries} queries in "
        f"{seconds:.1f} s, compilation included"
    )
    optimum = float(table.test.max())
    options = table_search_config.options_of(config, name)
    entries = summarise_method(
        name, settings, curves, at_queries, optimum, options=options, seen=seen
    )
    return [entry | {"seconds": seconds} for entry in entries]


def _write_search(options, out: pathlib.Path, config, table, entries) -> None:
    """Writes curves.json, .csv and .svg, and prints the final regrets."""
    from egnas_jax.settings import as_dict
    from egnas_jax.storage import records
    from egnas_jax.studies.nasbench201 import summary
    from egnas_jax.studies.nasbench201.table import DATASETS
    from egnas_jax.studies.nasbench201.table_plots import draw_curves
    from egnas_jax.studies.statistics import LEVEL

    optimum = float(table.test.max())
    selected = summary.best_by_validation_regret(table)
    result = records.plain(
        {
            "dataset": config.dataset,
            "optimum": optimum,
            "best_by_validation_regret": selected,
            "level": LEVEL,
            "proxy": options.proxy,
            "config": as_dict(config),
            "entries": entries,
        }
    )
    out.mkdir(parents=True, exist_ok=True)
    by = f", by {options.proxy}" if options.proxy else ""
    title = f"NAS-Bench-201, {DATASETS[config.dataset]}{by}, {config.runs} runs each"
    records.write_json(out / "curves.json", result)
    records.write_text(out / "curves.csv", summary.curves_csv(entries))
    records.write_text(out / "curves.svg", draw_curves(entries, selected, title))
    if options.json:
        print(json.dumps(result))
        return
    seen = f"the score of {options.proxy}" if options.proxy else "validation accuracy"
    print(summary.markdown(entries, optimum, selected, seen), end="")
    print(f"Results: {out}/curves.json, {out}/curves.csv\nFigure: {out}/curves.svg")


def rank_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `egnas rank-correlation`."""
    add = parser.add_argument
    run = "run directory of `egnas search --space nasbench201`"
    add("run", metavar="RUN", help=run)
    add("--table", required=True, metavar="FILE.npz", help=TABLE_HELP)
    dataset = "of the table (the run's own data set, else cifar10)"
    add("--dataset", metavar="NAME", help=dataset)
    add("--sample", **COUNT, default=200, help="cells, 15625 for all (%(default)s)")
    add("--images", **COUNT, default=256, help="validation images (%(default)s)")
    stats = "statistics of batch norm: batch or running (%(default)s)"
    add("--batch-stats", default="batch", metavar="NAME", help=stats)
    add("--seed", type=int, default=0, help="of cells and images (%(default)s)")
    add_data_arguments(parser)
    add("--out", metavar="DIR", help="(default: into RUN)")
    add("--json", action="store_true", help=JSON_HELP)


def rank_correlation(options: argparse.Namespace) -> None:
    """Correlates a supernet's ranking of cells with the table's accuracies."""
    check_run(options.run)
    from egnas_jax.runs.directory import stored_config
    from egnas_jax.runs.failures import running
    from egnas_jax.runs.finished_search import load_search
    from egnas_jax.search.evaluate import check_options
    from egnas_jax.settings import assignments
    from egnas_jax.studies import rank_correlation
    from egnas_jax.studies.nasbench201.read import read_table

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
    dataset = options.dataset or _dataset_of_run(config)
    table = read_table(options.table, dataset)
    out = folder if options.out is None else pathlib.Path(options.out)
    check_writable(out)
    use_compilation_cache()
    search = load_search(
        folder,
        data_dir=options.data_dir,
        settings=assignments(options.overrides),
        log=say,
    )
    supernet = rank_correlation.from_run(search, options.images, options.seed)
    with running():
        ranks = rank_correlation.rank(
            supernet,
            table,
            sample=options.sample,
            seed=options.seed,
            batch_stats=options.batch_stats,
        )
    _write_ranks(options, out, dataset, ranks)


def _dataset_of_run(config) -> str:
    """The run's data set where the table has it, else cifar10."""
    from egnas_jax.studies.nasbench201.table import DATASETS

    known = config.data.path is None and config.data.name in DATASETS
    return config.data.name if known else "cifar10"


def _write_ranks(options, out: pathlib.Path, dataset: str, ranks: dict) -> None:
    """Writes rank_correlation.json and .svg, and prints the correlations."""
    from egnas_jax.storage import records
    from egnas_jax.studies.nasbench201.table import DATASETS
    from egnas_jax.studies.nasbench201.table_plots import draw_ranks
    from egnas_jax.studies.tables import interval_text, markdown_table

    result = records.plain(
        {"run": str(pathlib.Path(options.run)), "dataset": dataset, **ranks}
    )
    out.mkdir(parents=True, exist_ok=True)
    title = f"{result['cells']} cells, {DATASETS[dataset]}, {result['epochs']} epochs"
    records.write_json(out / "rank_correlation.json", result)
    records.write_text(out / "rank_correlation.svg", draw_ranks(ranks, title))
    if options.json:
        print(json.dumps(result))
        return
    rows = [
        (
            entry["supernet"],
            entry["table"],
            *(interval_text(**entry[name]) for name in ("kendall", "spearman")),
        )
        for entry in ranks["correlations"]
    ]
    print(markdown_table(RANK_COLUMNS.split("|"), rows), end="")
    print(f"Results: {out}/rank_correlation.json\nFigure: {out}/rank_correlation.svg")
