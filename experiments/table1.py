"""Repeats Table 1 of the report: validation accuracy by the weights zeta and eta.

Claim of the report: zeta = 1, eta = 0.4 is best (84.088 %), of 16 single runs between
83.1 and 84.1 %. Here every setting has the same seeds and the same warm start, so that
settings differ by their weights or by chance, and a paired test tells the two apart.

The winner of a population depends on zeta / eta alone, so the 16 settings are 11
searches: each is run once, and the report's own settings of equal zeta / eta show its
noise. Each exploration also records which individual every pair of weights would have
chosen from the same population; a figure shows how often two pairs choose the same.

On a GPU as many searches run as one program as its memory holds, on a CPU one after
another (--batched).

Command: python experiments/table1.py --size small --out OUT
"""

import argparse
import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence

import forks
import numpy as np
import record_tables
from methods import Outcome

from egnas_jax.cli.search_many import read_batched
from egnas_jax.plotting import as_svg
from egnas_jax.strategies.egnas.weight_grid import PAIRS, WEIGHTS, ratio
from egnas_jax.studies.report.curves import FigureData, Row
from egnas_jax.studies.report.page import Figure
from egnas_jax.studies.report.write import as_figure

Pair = tuple[float, float]  # zeta, eta

DEFAULT: Pair = (1.0, 0.4)
TITLE = "Table 1 of the report"
TEXT = (
    "How often two pairs of weights choose the same individual of a population, in "
    "percent of all populations that all runs evaluated."
)
# validation accuracy (%) and parameters (M) that the report prints: zeta, eta
REPORTED = {
    (1.0, 1.0): (84.036, 3.00),
    (1.0, 0.8): (83.984, 2.36),
    (1.0, 0.4): (84.088, 2.58),
    (1.0, 0.2): (84.028, 3.21),
    (0.8, 1.0): (83.980, 2.39),
    (0.8, 0.8): (83.668, 2.74),
    (0.8, 0.4): (83.724, 1.83),
    (0.8, 0.2): (83.356, 2.28),
    (0.4, 1.0): (83.768, 3.17),
    (0.4, 0.8): (83.852, 3.51),
    (0.4, 0.4): (83.632, 2.77),
    (0.4, 0.2): (83.184, 3.46),
    (0.2, 1.0): (83.768, 3.51),
    (0.2, 0.8): (83.880, 2.48),
    (0.2, 0.4): (83.684, 2.77),
    (0.2, 0.2): (83.096, 3.40),
}


def pairs_to_run(weights: Sequence[float]) -> dict[float, Pair]:
    """zeta / eta -> the first pair of weights that has it; each is one search."""
    pairs: dict[float, Pair] = {}
    for zeta in weights:
        for eta in weights:
            pairs.setdefault(ratio((zeta, eta)), (zeta, eta))
    return pairs


def name_of(pair: Pair) -> str:
    """The name of a search."""
    return f"{pair[0]},{pair[1]}"


def agreement_with_default(outcomes: Sequence[Outcome], pair: Pair) -> list[float]:
    """How often a pair chose as `DEFAULT` did, seed by seed; [] if it is unknown."""
    ratios = list(map(ratio, PAIRS))
    if ratio(pair) not in ratios:
        return []
    index = ratios.index(ratio(pair)), PAIRS.index(DEFAULT)
    matrices = [
        forks.agreement([outcome for outcome in outcomes if outcome.seed == seed])
        for seed in sorted({outcome.seed for outcome in outcomes})
    ]
    return [matrix[index] for matrix in matrices if matrix is not None]


def plot_agreement(agreement: np.ndarray) -> Figure:
    """A figure of how often every two pairs choose the same individual."""
    from matplotlib.figure import Figure as Canvas  # needs no window system

    canvas = Canvas((7.4, 6.4), layout="constrained")
    axis = canvas.subplots()
    percent, places = 100 * agreement, range(len(PAIRS))
    image = axis.imshow(percent, cmap="cividis", vmin=0, vmax=100, aspect="auto")
    for i, j in np.ndindex(percent.shape):
        colour = "white" if percent[i, j] < 60 else "black"
        style = dict(ha="center", va="center", fontsize=7, color=colour)
        axis.annotate(f"{percent[i, j]:.0f}", (j, i), **style)
    labels = [f"{zeta}, {eta}" for zeta, eta in PAIRS]
    axis.set_xticks(places, labels, rotation=90, fontsize=8)
    axis.set_yticks(places, labels, fontsize=8)
    axis.set(xlabel="zeta, eta", ylabel="zeta, eta")
    canvas.colorbar(image, label="populations with the same choice (%)", shrink=0.8)
    rows = [
        Row(labels[i], labels[j], "", j, percent[i, j])
        for i, j in np.ndindex(percent.shape)
    ]
    return as_figure(FigureData("table1", TITLE, TEXT, {}, rows), as_svg(canvas))


def reported_noise() -> str:
    """How far apart the report's settings are that are one search, as a sentence."""
    accuracies = defaultdict(list)
    for pair, (accuracy, _) in REPORTED.items():
        accuracies[ratio(pair)].append(accuracy)
    groups = [group for group in accuracies.values() if len(group) > 1]
    squares = sum(statistics.variance(group) * (len(group) - 1) for group in groups)
    within = math.sqrt(squares / sum(len(group) - 1 for group in groups))
    widest = max(max(group) - min(group) for group in groups)
    overall = statistics.stdev(accuracy for accuracy, _ in REPORTED.values())
    return (
        f"The report's own settings of equal zeta / eta lie up to {widest:.2f} points "
        f"apart: standard deviation {within:.2f}, that of all its 16 is {overall:.2f}."
    )


def make_rows(outcomes: list[Outcome], weights: Sequence[float]) -> list[list]:
    """Rows of the record, one for each pair of weights."""
    names = {key: name_of(pair) for key, pair in pairs_to_run(weights).items()}

    def values_of(pair: Pair, metric: Callable[[Outcome], float]) -> list[float]:
        return forks.values_of(outcomes, names.get(ratio(pair)), metric)

    default = values_of(DEFAULT, forks.accuracy)
    rows = []
    for pair in ((zeta, eta) for zeta in weights for eta in weights):
        accuracies = values_of(pair, forks.accuracy)
        is_tested = default and ratio(pair) != ratio(DEFAULT)
        agreement = agreement_with_default(outcomes, pair)
        rows.append(
            [
                *pair,
                ratio(pair),
                record_tables.cell(accuracies, 100),
                record_tables.p_value(accuracies, default) if is_tested else None,
                record_tables.known_cell(agreement, 100),
                record_tables.cell(values_of(pair, millions_of_params)),
                *REPORTED.get(pair, (None, None)),
            ]
        )
    return rows


def millions_of_params(outcome: Outcome) -> float:
    """Weights of the network of the published tables."""
    return outcome.summary["params"] / 1e6


def make_table(options: argparse.Namespace, outcomes: list[Outcome]) -> dict:
    """The record without its command."""
    agreement = forks.describe_agreement(forks.agreement(outcomes))
    return {
        "title": TITLE,
        "columns": [
            record_tables.column("zeta", 1),
            record_tables.column("eta", 1),
            "zeta / eta",
            "valid. accuracy (%)",
            "p against 1.0, 0.4",
            record_tables.column("chooses as 1.0, 0.4 (%)", 0),
            "params (M)",
            "report: accuracy (%)",
            "report: params (M)",
        ],
        "rows": make_rows(outcomes, options.weights),
        "claim": "Can the weights zeta and eta of the fitness be told apart?",
        "seconds": forks.total_seconds(outcomes),
        "note": f"{forks.describe_images(options)} Variant {options.variant}; all "
        f"settings of a seed fork from one warm start. Settings of equal zeta / eta "
        f"are one search. p of a paired t test over seeds, not corrected for their "
        f"number; none where all end alike.{agreement} {reported_noise()}",
    }


def weight(text: str) -> float:
    """Type of a weight of the command line."""
    if not float(text) > 0:
        raise argparse.ArgumentTypeError(
            f"{text} is not above 0; figure2.py leaves terms out"
        )
    return float(text)


def batched(text: str) -> str | int:
    """Type of how many searches run at a time."""
    try:
        return read_batched(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The options of the command line."""
    parser = forks.make_parser(__doc__)
    text = "of zeta and of eta (the report's)"
    parser.add_argument("--weights", type=weight, nargs="+", default=WEIGHTS, help=text)
    text = "searches as one program, as in `egnas search`: auto, on, off or a number"
    parser.add_argument("--batched", type=batched, default="auto", help=text)
    options = forks.parse_similarity(parser, arguments)
    if len(set(options.weights)) < len(options.weights):
        parser.error("--weights names one twice")
    return options


def main(arguments: list[str] | None = None) -> None:
    """Runs all pairs of weights and writes their record."""
    options = parse(arguments)
    settings = {
        name_of((zeta, eta)): {"strategy.zeta": zeta, "strategy.eta": eta}
        for zeta, eta in pairs_to_run(options.weights).values()
    }
    outcomes = forks.run(settings, options, options.batched)
    agreement = forks.agreement(outcomes)
    is_default = options.weights == WEIGHTS
    extra = [] if is_default else ["--weights", *map(str, options.weights)]
    if options.batched != "auto":
        extra += ["--batched", str(options.batched)]
    forks.write(
        options,
        "table1",
        make_table(options, outcomes),
        {
            "genotypes": record_tables.genotypes(outcomes),
            **forks.agreement_details(agreement),
        },
        extra=extra,
        figure=None if agreement is None else plot_agreement(agreement),
    )


if __name__ == "__main__":
    main()
