"""Does a zero-cost proxy choose better cells than the number of weights does?

A run draws cells of NAS-Bench-201, and every rule chooses one of them: a proxy the cell
with its largest score, chance the first, and the validation accuracy after 12 epochs,
which takes a training of each cell, the best. All rules choose from the same cells. The
regret of a choice is the best test accuracy of the table minus that of the cell.

Each proxy is compared with the number of weights and with chance, with intervals under
one correction for all comparisons (Holm). Runs of a seed draw from the same scored
cells, so the intervals do not hold for other cells, weights and images.

No search method runs. Every cell has weights of its own here; a search with
`strategy.fitness=proxy:NAME` scores all cells under the same initial weights, in the
frame of its supernet, partial channels included. Such searches were not measured.

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
from egnas_jax.studies.nasbench201.read import read_table
from egnas_jax.studies.nasbench201.table import DATASETS, KIND, BenchmarkTable, code_of
from egnas_jax.studies.proxy_scores import ProxyStudy
from egnas_jax.studies.statistics import Comparison, compare_with
from egnas_jax.training.jax_settings import pinned

TITLE = "Search by zero-cost proxies"
WEIGHTS, CHANCE, TRAINED = "params", "a random cell", "accuracy after 12 epochs"
CONTROLS = (WEIGHTS, CHANCE)
LEAST_P = 1e-12  # that is written out


class Size(NamedTuple):
    """What is scored and how often it is chosen from.

    Attributes:
      proxies: their names.
      cells: scored by each seed, which draws cells, weights and images.
      seeds: their number.
      drawn: cells from which a run chooses.
      runs: of all seeds together.
      frame: of the networks, fields of `ProxyStudy`.
    """

    proxies: tuple[str, ...]
    cells: int
    seeds: int
    drawn: int
    runs: int
    frame: dict = {}


SIZES = {
    "tiny": Size((WEIGHTS, "l2_norm", "naswot", "synflow"), 150, 2, 20, 200),
    "small": Size(tuple(PROXIES), 2_000, 2, 100, 2_000),
    "full": Size(
        tuple(PROXIES),
        15_625,
        3,
        100,
        10_000,
        dict(channels=16, layers=17, image_size=32, batch_size=64, data="cifar10"),
    ),
}


class Scored(NamedTuple):
    """Cells of one seed.

    Attributes:
      rules: rule -> a score of each cell, larger is better, [n]; NaN ranks last.
      test: test accuracy, fractions, [n].
      seconds: that scoring took; of a part where it went on with another.
    """

    rules: dict[str, np.ndarray]
    test: np.ndarray
    seconds: float


@pinned()
def score(options: argparse.Namespace, table: BenchmarkTable, seed: int) -> Scored:
    """Scores the cells of one seed, as far as they are not."""
    size, started = SIZES[options.size], time.perf_counter()
    study = ProxyStudy(
        space="nasbench201",
        proxies=size.proxies,
        cells=size.cells,
        seed=seed,
        **size.frame,
    )
    batch, num_classes = proxy_scores.load_batch(study, options.data_dir)
    folder = options.out / f"seed-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    scores = proxy_scores.score_study(
        study,
        batch,
        num_classes,
        folder,
        on_chunk=lambda done: say(f"seed {seed}: {done} of {size.cells} cells"),
    )
    cells = proxy_scores.draw_cells(study)
    codes = code_of(np.argmax(np.asarray(cells.primitives[KIND]), axis=-1))
    valid = np.asarray(table.valid)[np.asarray(table.row_of)[codes]]
    return Scored(
        rules={**scores, TRAINED: valid},
        test=proxy_scores.accuracies(table, cells),
        seconds=time.perf_counter() - started,
    )


def choose(scored: Scored, drawn: np.ndarray) -> dict[str, int]:
    """Rule -> the cell that it chooses from those drawn; of equal ones the first."""
    chosen = {CHANCE: int(drawn[0])}
    for name, values in scored.rules.items():
        ranked = np.where(np.isnan(values), -np.inf, values)[drawn]
        chosen[name] = int(drawn[np.argmax(ranked)])
    return chosen


def regrets(size: Size, by_seed: list[Scored], best: float) -> dict[str, np.ndarray]:
    """Rule -> the regret of every run in points, [runs]; seeds take turns.

    Args:
      size: has the numbers of runs and of cells of a run.
      by_seed: cells of each seed.
      best: test accuracy of the best cell of the table.
    """
    rng = np.random.default_rng(0)
    runs = []
    for run in range(size.runs):
        scored = by_seed[run % len(by_seed)]
        drawn = rng.choice(len(scored.test), size.drawn, replace=False)
        chosen = choose(scored, drawn)
        runs.append({k: 100 * (best - scored.test[cell]) for k, cell in chosen.items()})
    return {name: np.asarray([one[name] for one in runs]) for name in runs[0]}


def comparisons(found: dict[str, np.ndarray]) -> dict[tuple[str, str], Comparison]:
    """Each proxy minus each control, under one correction for all of them."""
    groups: dict = {None: dict.fromkeys(range(len(found[CHANCE])), 0.0)}
    for name in found.keys() - {CHANCE, TRAINED}:
        for control in CONTROLS:
            if name != control:
                differences = found[name] - found[control]
                groups[name, control] = dict(enumerate(differences.tolist()))
    return {one.first: one for one in compare_with(None, groups)}


def difference_text(one: Comparison | None) -> str | None:
    """The interval of a difference with its corrected p value, in words."""
    if one is None:
        return None
    if one.low is None:
        return "no difference"
    p_value = f"{one.holm:.2g}" if one.holm >= LEAST_P else f"< {LEAST_P:g}"
    return f"{one.low:.2f} to {one.high:.2f} (p {p_value})"


def make_rows(size: Size, found: dict[str, np.ndarray]) -> list[list]:
    """Rows of the record, best rule first."""
    compared = comparisons(found)
    images = ProxyStudy("nasbench201", (), 3, **size.frame).batch_size
    rows = []
    for name in sorted(found, key=lambda name: found[name].mean()):
        is_proxy = name in PROXIES
        rows.append(
            [
                name,
                record_tables.cell(found[name].tolist()),
                *(difference_text(compared.get((name, one))) for one in CONTROLS),
                PROXIES[name].forward_passes(images) if is_proxy else None,
            ]
        )
    return rows


def make_table(
    options: argparse.Namespace, by_seed: list[Scored], found: dict[str, np.ndarray]
) -> dict:
    """The record."""
    size = SIZES[options.size]
    study = ProxyStudy("nasbench201", (), 3, **size.frame)
    data = "" if options.dataset == "cifar10" else f" --dataset {options.dataset}"
    return {
        "title": f"{TITLE}, size {options.size}",
        "claim": "Of some random cells, does a proxy choose a better one than the "
        "number of weights does, or than chance?",
        "command": f"python experiments/proxies.py --size {options.size} --table "
        f"FILE.npz{data} --out OUT",
        "columns": [
            "chosen by",
            record_tables.column("test regret (points)"),
            "minus that of params: interval (p)",
            "minus that of a random cell: interval (p)",
            record_tables.column("forward passes of an image, a cell", 0),
        ],
        "rows": make_rows(size, found),
        "seconds": sum(scored.seconds for scored in by_seed),
        "note": f"{size.runs:,} runs, each of which chooses from {size.drawn} cells of "
        f"{size.cells:,} scored, by scores of {size.seeds} seeds of weights and "
        f"images; {DATASETS[options.dataset]}'s test accuracy after 200 epochs. Mean ± "
        f"standard deviation; intervals are of paired t tests over runs under one "
        f"correction (Holm). Runs of a seed draw from the same scored cells, so the "
        f"intervals do not hold for other cells, weights and images. Networks of "
        f"{study.layers} cells and {study.channels} channels on {study.batch_size} "
        f"images of {study.data} of {study.image_size} pixels. The accuracy takes a "
        f"training of each cell, and is here to compare.",
    }


def main(arguments: list[str] | None = None) -> None:
    """Scores cells, searches among them, and writes the record."""
    parser = command_line.make_parser(__doc__)
    add = parser.add_argument
    sizes = "tiny: a minute; small: five minutes on 2 cores; full: a GPU"
    add("--size", choices=SIZES, default="small", help=sizes)
    add("--table", required=True, metavar="FILE.npz", type=command_line.absolute_text)
    add("--dataset", choices=list(DATASETS), default="cifar10", help="of the table")
    place = "the only place to look for the images"
    add("--data-dir", type=command_line.absolute_text, help=place)
    options = parser.parse_args(arguments)
    size = SIZES[options.size]
    use_compilation_cache()
    try:
        table = read_table(options.table, options.dataset)
        by_seed = [score(options, table, seed) for seed in range(size.seeds)]
    except (OSError, ValueError) as error:
        parser.error(str(error))
    regret_of = regrets(size, by_seed, float(table.test.max()))
    kept = f"proxies_{options.size}" if options.record else None
    record = make_table(options, by_seed, regret_of)
    details = {name: values.tolist() for name, values in regret_of.items()}
    results.write(options.out / "proxies.json", record, details, kept)


if __name__ == "__main__":
    main()
