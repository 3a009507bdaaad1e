"""Do searches by zero-cost proxies find better cells than by the number of weights?

Every cell of NAS-Bench-201 is scored. Random search and ageing evolution then search in
the table, with the rank of a score in place of the validation accuracy, so that no cell
is trained (`egnas table-search --scores` does the same). The regret of a search is the
best test accuracy of the table minus that of the cell that it answers. Beside the
proxies stand a search by the validation accuracy after 12 epochs, which takes a
training of each cell, and a random cell.

A seed draws the weights of every cell and the images, and has as many runs of each
search as every other. The mean of its runs is one value, so that intervals are over
seeds. Each search by a proxy is compared with the same search by the number of weights,
under one correction for all comparisons (Holm).

A second record has the rank correlations of the scores with the test accuracies of all
three data sets, over all cells.

Every cell has weights of its own and all channels here. A search on images with
`strategy.fitness=proxy:NAME` scores all cells under the same first weights, with the
partial channels of its supernet.

Command: python experiments/proxies.py --size tiny --table FILE.npz --out OUT
  What is scored is kept in OUT, and goes on after an interruption.
"""

import argparse
import time
from typing import NamedTuple

import command_line
import numpy as np
import record_tables
import results

from egnas_jax.cli.console import say, use_compilation_cache
from egnas_jax.proxies import PROXIES
from egnas_jax.studies import proxy_scores
from egnas_jax.studies.nasbench201 import table_search, table_search_config
from egnas_jax.studies.nasbench201.read import read_table
from egnas_jax.studies.nasbench201.scored_table import with_scores
from egnas_jax.studies.nasbench201.table import (
    DATASETS,
    NUM_CELLS,
    BenchmarkTable,
    rows_of,
)
from egnas_jax.studies.proxy_scores import ProxyStudy
from egnas_jax.studies.statistics import Comparison, compare_pairs
from egnas_jax.training.jax_settings import pinned

TITLE = "Search by zero-cost proxies"
RANKS_TITLE = "Zero-cost proxies as ranks of trained cells"
WEIGHTS, TRAINED, CHANCE = "params", "accuracy after 12 epochs", "a random cell"
SEARCHES = ("random_search", "ageing_evolution")
TAU, RHO = "kendall", "spearman"

# search, what it looks at -> seed -> mean regret of its runs, points
Regrets = dict[tuple[str, str], dict[int, float]]


class Size(NamedTuple):
    """What is scored, and how often is searched.

    Attributes:
      proxies: their names.
      seeds: of weights, images and searches.
      runs: of each search with each seed.
      queries: cells at which a run looks.
      frame: of the networks, fields of `ProxyStudy`.
    """

    proxies: tuple[str, ...]
    seeds: int
    runs: int
    queries: int
    frame: dict = {}


SIZES = {
    "tiny": Size((WEIGHTS, "l2_norm", "naswot", "synflow"), 2, 50, 50),
    "small": Size(tuple(PROXIES), 3, 500, 200),
    "full": Size(
        tuple(PROXIES),
        3,
        1_000,
        200,
        dict(channels=16, layers=17, image_size=32, batch_size=64, data="cifar10"),
    ),
}


class Scored(NamedTuple):
    """All cells of the table under the weights and images of one seed.

    Attributes:
      scores: proxy -> a score of each row of the table, larger is better; NaN ranks
        last.
      seconds: that scoring took; of a part where it went on with another.
    """

    scores: dict[str, np.ndarray]
    seconds: float


def study_of(size: Size, seed: int) -> ProxyStudy:
    """What is scored with one seed."""
    names = dict(space="nasbench201", proxies=size.proxies)
    return ProxyStudy(**names, cells=NUM_CELLS, seed=seed, **size.frame)


@pinned()
def score(options: argparse.Namespace, table: BenchmarkTable, seed: int) -> Scored:
    """Scores all cells with one seed, as far as they are not."""
    study, started = study_of(SIZES[options.size], seed), time.perf_counter()
    batch, num_classes = proxy_scores.load_batch(study, options.data_dir)
    folder = options.out / f"seed-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    scores = proxy_scores.score_study(
        study,
        batch,
        num_classes,
        folder,
        on_chunk=lambda done: say(f"seed {seed}: {done} of {study.cells} cells"),
    )
    cells = proxy_scores.draw_cells(study)
    cell_of_row = np.argsort(np.asarray(rows_of(table, cells)))
    by_row = {name: values[cell_of_row] for name, values in scores.items()}
    return Scored(by_row, time.perf_counter() - started)


def search(
    table: BenchmarkTable, dataset: str, size: Size, method: str, seed: int
) -> float:
    """Mean test regret of the runs of one search in a table, in points."""
    sizes = dict(dataset=dataset, runs=size.runs, queries=size.queries, seed=seed)
    overrides = [f"{name}={value}" for name, value in sizes.items()]
    config = table_search_config.build(None, overrides)
    curves = table_search.run_method(
        table, config, method, [{}], np.asarray([size.queries])
    )
    optimum = float(table.test.max())
    return 100 * (optimum - float(curves.answer[0].astype(float).mean()))


def search_all(
    table: BenchmarkTable, dataset: str, size: Size, by_seed: list[Scored]
) -> Regrets:
    """Regrets of every search, by every proxy and by the validation accuracy."""
    regrets: Regrets = {}
    for seed, scored in enumerate(by_seed):
        tables = {
            name: with_scores(table, values) for name, values in scored.scores.items()
        }
        for name, seen in (tables | {TRAINED: table}).items():
            for method in SEARCHES:
                regret = search(seen, dataset, size, method, seed)
                regrets.setdefault((method, name), {})[seed] = regret
    return regrets


def comparisons(regrets: Regrets) -> dict[tuple[str, str], Comparison]:
    """Every search by a proxy minus the same one by the number of weights."""
    others = [key for key in regrets if key[1] not in (WEIGHTS, TRAINED)]
    pairs = [((method, name), (method, WEIGHTS)) for method, name in others]
    return {one.first: one for one in compare_pairs(pairs, regrets)}


def difference_text(one: Comparison | None) -> str | None:
    """The interval of a difference with its corrected p value, in words."""
    if one is None:
        return None
    if one.low is None:
        return "the same cells" if one.difference == 0 else "nothing can be said"
    return f"{one.low:.2f} to {one.high:.2f} (p {one.holm:.2g})"


def search_rows(size: Size, regrets: Regrets, chance: float) -> list[list]:
    """Rows of the first record, best first."""
    compared = comparisons(regrets)
    images = study_of(size, 0).batch_size
    rows = [
        [
            name,
            method.replace("_", " "),
            record_tables.cell(list(values.values())),
            difference_text(compared.get((method, name))),
            PROXIES[name].forward_passes(images) if name in PROXIES else None,
        ]
        for (method, name), values in regrets.items()
    ]
    rows.sort(key=lambda row: row[2]["mean"])
    return [*rows, [CHANCE, None, chance, None, None]]


def frame_text(size: Size) -> str:
    """The frame of the networks in words."""
    study = study_of(size, 0)
    return (
        f"Networks of {study.layers} cells ({(study.layers - 2) // 3} in a stage) and "
        f"{study.channels} channels on {study.batch_size} images of {study.data} of "
        f"{study.image_size} pixels; {size.seeds} seeds of weights and images"
    )


def search_record(
    options: argparse.Namespace, regrets: Regrets, chance: float, seconds: float
) -> dict:
    """The record of the searches."""
    size = SIZES[options.size]
    return {
        "title": f"{TITLE}, size {options.size}",
        "claim": "Does a search by a proxy find better cells than one by the number of "
        "weights?",
        "command": _command(options),
        "columns": [
            "search by",
            "method",
            record_tables.column("test regret (points)"),
            "minus that by params: interval (p)",
            record_tables.column("forward passes of an image, a cell", 0),
        ],
        "rows": search_rows(size, regrets, chance),
        "seconds": seconds,
        "note": f"{DATASETS[options.dataset]}'s test accuracy after 200 epochs. "
        f"{frame_text(size)}, each with {size.runs:,} runs of {size.queries} queries, "
        f"whose mean is one value. Mean ± standard deviation over seeds; intervals are "
        f"of paired t tests over seeds, under one correction for all of them (Holm). "
        f"The accuracy after 12 epochs takes a training of each cell.",
    }


def _command(options: argparse.Namespace) -> str:
    data = "" if options.dataset == "cifar10" else f" --dataset {options.dataset}"
    return (
        f"python experiments/proxies.py --size {options.size} --table FILE.npz{data} "
        f"--out OUT"
    )


def rank_rows(by_seed: list[Scored], tests: dict[str, np.ndarray]) -> list[list]:
    """Rows of the second record, that with the largest first coefficient first.

    Args:
      by_seed: scores of each seed.
      tests: data set -> the test accuracy of each row of the table.
    """
    measured = [
        {
            data: proxy_scores.correlate(one.scores, test, 0, 0)
            for data, test in tests.items()
        }
        for one in by_seed
    ]
    rows = []
    for name in by_seed[0].scores:
        cells = [
            record_tables.cell([of[data][name][measure]["value"] for of in measured])
            for measure in (RHO, TAU)
            for data in tests
        ]
        rows.append([name, *cells])
    return sorted(rows, key=lambda row: -row[1]["mean"])


def rank_record(
    options: argparse.Namespace,
    by_seed: list[Scored],
    tests: dict[str, np.ndarray],
    seconds: float,
) -> dict:
    """The record of the rank correlations."""
    size = SIZES[options.size]
    names = [
        f"{measure}, {DATASETS[data]}"
        for measure in ("Spearman's rho", "Kendall's tau")
        for data in tests
    ]
    return {
        "title": f"{RANKS_TITLE}, size {options.size}",
        "claim": "How well does a score rank all cells of NAS-Bench-201 as their "
        "trainings do?",
        "command": _command(options),
        "columns": ["proxy", *(record_tables.column(name, 3) for name in names)],
        "rows": rank_rows(by_seed, tests),
        "seconds": seconds,
        "note": f"With the test accuracy after 200 epochs, of all {NUM_CELLS:,} cells. "
        f"{frame_text(size)}; mean ± standard deviation over them. The seconds are of "
        f"the scores alone.",
    }


def main(arguments: list[str] | None = None) -> None:
    """Scores cells, searches among them, and writes both records."""
    parser = command_line.make_parser(__doc__)
    add = parser.add_argument
    sizes = "tiny: minutes; small: half an hour on 2 cores; full: a GPU"
    add("--size", choices=SIZES, default="small", help=sizes)
    add("--table", required=True, metavar="FILE.npz", type=command_line.absolute_text)
    add("--dataset", choices=list(DATASETS), default="cifar10", help="of the searches")
    place = "the only place to look for the images"
    add("--data-dir", type=command_line.absolute_text, help=place)
    options = parser.parse_args(arguments)
    size = SIZES[options.size]
    use_compilation_cache()
    try:
        tables = {name: read_table(options.table, name) for name in DATASETS}
        table = tables[options.dataset]
        by_seed = [score(options, table, seed) for seed in range(size.seeds)]
    except (OSError, ValueError) as error:
        parser.error(str(error))
    tests = {name: np.asarray(one.test) for name, one in tables.items()}
    scoring, started = sum(one.seconds for one in by_seed), time.perf_counter()
    ranks = rank_record(options, by_seed, tests, scoring)
    kept = f"proxy_ranks_{options.size}" if options.record else None
    results.write(options.out / "proxy_ranks.json", ranks, {}, kept)
    regrets = search_all(table, options.dataset, size, by_seed)
    chance = 100 * float(table.test.max() - table.test.mean())
    seconds = scoring + time.perf_counter() - started
    record = search_record(options, regrets, chance, seconds)
    details = {
        " / ".join(key): list(values.values()) for key, values in regrets.items()
    }
    kept = f"proxies_{options.size}" if options.record else None
    results.write(options.out / "proxies.json", record, details, kept)


if __name__ == "__main__":
    main()
