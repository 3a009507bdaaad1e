"""Table 1 of the report: validation accuracy by the weights zeta and eta.

Claim of the report: zeta = 1, eta = 0.4 is best (84.088 %), of 16 single runs between
83.1 and 84.1 %. Here every setting has the same seeds and the same warm start, so that
what remains is the setting or chance, and a paired test says which can be told. Who
wins depends on zeta / eta alone, so that the 16 settings are 11 searches: each is run
once, and the report's own settings of equal zeta / eta tell its noise. Each exploration
also tells which individual every pair of weights would have chosen from the same
population: how often two pairs choose the same one is drawn for all of them.

Command: python experiments/table1.py --size small --out OUT
"""

import argparse
import math
import statistics
from collections import defaultdict
from collections.abc import Sequence

import forks
import methods
import numpy as np

from egnas_jax.plotting import as_svg
from egnas_jax.strategies.egnas.weight_grid import PAIRS, WEIGHTS, ratio
from egnas_jax.studies.report.curves import FigureData, Row
from egnas_jax.studies.report.page import Figure
from egnas_jax.studies.report.write import as_figure

DEFAULT = (1.0, 0.4)
TITLE = "Table 1 of the report"
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


def as_default(found: Sequence[methods.Found], pair: tuple[float, float]) -> list:
    """How often a pair chose as `DEFAULT` did, seed by seed; [] if it is unknown."""
    ratios = list(map(ratio, PAIRS))
    if ratio(pair) not in ratios:
        return []
    places = ratios.index(ratio(pair)), PAIRS.index(DEFAULT)
    of_seeds = [
        forks.agreement([one for one in found if one.seed == seed])
        for seed in sorted({one.seed for one in found})
    ]
    return [agreement[places] for agreement in of_seeds if agreement is not None]


def drawn(agreement: np.ndarray) -> Figure:
    """A picture of how often every two pairs choose the same individual."""
    from matplotlib.figure import Figure as Canvas  # no window system

    canvas = Canvas((7.4, 6.4), layout="constrained")
    axis = canvas.subplots()
    percent, places = 100 * agreement, range(len(PAIRS))
    image = axis.imshow(percent, cmap="cividis", vmin=0, vmax=100, aspect="auto")
    for i, j in np.ndindex(percent.shape):
        colour = "white" if percent[i, j] < 60 else "black"
        axis.annotate(
            f"{percent[i, j]:.0f}",
            (j, i),
            ha="center",
            va="center",
            fontsize=7,
            color=colour,
        )
    labels = [f"{zeta}, {eta}" for zeta, eta in PAIRS]
    axis.set_xticks(places, labels, rotation=90, fontsize=8)
    axis.set_yticks(places, labels, fontsize=8)
    axis.set(xlabel="zeta, eta", ylabel="zeta, eta")
    canvas.colorbar(image, label="populations with the same choice (%)", shrink=0.8)
    rows = [
        Row(labels[i], labels[j], "", j, percent[i, j])
        for i, j in np.ndindex(percent.shape)
    ]
    text = (
        "How often two pairs of weights choose the same individual of a population, in "
        "percent of all populations that all runs evaluated."
    )
    return as_figure(FigureData("table1", TITLE, text, {}, rows), as_svg(canvas))


def reported_noise() -> str:
    """How far the report's settings lie apart that are one search, as a sentence."""
    alike = defaultdict(list)
    for pair, (accuracy, _) in REPORTED.items():
        alike[ratio(pair)].append(accuracy)
    several = [values for values in alike.values() if len(values) > 1]
    squares = sum(statistics.variance(values) * (len(values) - 1) for values in several)
    within = math.sqrt(squares / sum(len(values) - 1 for values in several))
    widest = max(max(values) - min(values) for values in several)
    overall = statistics.stdev(accuracy for accuracy, _ in REPORTED.values())
    return (
        f"The report's own settings of equal zeta / eta lie up to {widest:.2f} points "
        f"apart: standard deviation {within:.2f}, that of all its 16 is {overall:.2f}."
    )


def weight(text: str) -> float:
    """A weight of the command line."""
    if not float(text) > 0:
        raise argparse.ArgumentTypeError(
            f"{text} is not above 0; figure2.py leaves terms out"
        )
    return float(text)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = forks.parser(__doc__)
    parser.add_argument(
        "--weights",
        type=weight,
        nargs="+",
        default=WEIGHTS,
        help="of zeta and of eta (the report's)",
    )
    options = parser.parse_args(arguments)
    if len(set(options.weights)) < len(options.weights):
        parser.error("--weights names one twice")
    return options


def main(arguments: list[str] | None = None) -> None:
    options = _options(arguments)
    grid = [(zeta, eta) for zeta in options.weights for eta in options.weights]
    runs = {}  # zeta / eta -> the first pair that has it
    for pair in grid:
        runs.setdefault(ratio(pair), pair)
    settings = {
        f"{zeta},{eta}": [f"strategy.zeta={zeta}", f"strategy.eta={eta}"]
        for zeta, eta in runs.values()
    }
    found = forks.run(settings, options)
    names = dict(zip(runs, settings, strict=True))

    def values(pair, figure):
        return forks.of(found, names.get(ratio(pair)), figure)

    default = values(DEFAULT, forks.accuracy)
    rows = []
    for pair in grid:
        own = values(pair, forks.accuracy)
        tested = default and ratio(pair) != ratio(DEFAULT)
        same = as_default(found, pair)
        rows.append(
            [
                *pair,
                ratio(pair),
                methods.cell(own, 100),
                methods.p_value(own, default) if tested else None,
                methods.cell(same, 100) if same else None,
                methods.cell(values(pair, lambda one: one.summary["params"] / 1e6)),
                *REPORTED.get(pair, (None, None)),
            ]
        )
    agreement = forks.agreement(found)
    columns = [
        methods.column("zeta", 1),
        methods.column("eta", 1),
        "zeta / eta",
        "valid. accuracy (%)",
        "p against 1.0, 0.4",
        methods.column("chooses as 1.0, 0.4 (%)", 0),
        "params (M)",
        "report: accuracy (%)",
        "report: params (M)",
    ]
    table = {
        "title": TITLE,
        "columns": columns,
        "rows": rows,
        "claim": "Can the weights zeta and eta of the fitness be told apart?",
        "seconds": forks.seconds(found),
        "note": f"{forks.images(options)} Variant {options.variant}; "
        f"all settings of a seed fork from one warm "
        f"start. Settings of equal zeta / eta are one search. p of a paired t test "
        f"over seeds, not corrected for their number; none where all end alike."
        f"{forks.agreed(agreement)} {reported_noise()}",
    }
    words = (
        [] if options.weights == WEIGHTS else ["--weights", *map(str, options.weights)]
    )
    forks.write(
        options,
        "table1",
        table,
        {"genotypes": methods.genotypes(found), **forks.grid(agreement)},
        *words,
        picture=None if agreement is None else drawn(agreement),
    )


if __name__ == "__main__":
    main()
