"""Figure 3 of the report: accuracy and search time by the size of the population.

Claim of the report: 50 individuals are a good size; from 30 to 50 accuracy rises most
(83.60 to 84.08 %) at little more time (0.075 to 0.081 GPU-days).

Command: python experiments/figure3.py --size small --out OUT
"""

from collections.abc import Sequence

import forks
import methods

SIZES = (15, 30, 50, 70, 100)
# read off the printed figure: validation accuracy (%) and GPU-days
REPORTED = {
    15: (83.32, 0.072),
    30: (83.60, 0.075),
    50: (84.08, 0.081),
    70: (84.20, 0.086),
    100: (84.31, 0.094),
}


PANELS = {
    "accuracy": ("population", "here: validation accuracy (%)"),
    "seconds": ("population", "here: seconds an epoch"),
    "report": ("population", "report: validation accuracy (%)"),
    "days": ("population", "report: GPU-days of a search"),
}


def series(found: list[methods.Found], sizes: Sequence[int]) -> dict:
    """(population, figure) of every seed and of the report, a panel each."""
    figures = {
        "accuracy": lambda one: 100 * forks.accuracy(one),
        "seconds": forks.seconds_an_epoch,
    }
    here = {
        (panel, "here"): {
            f"seed {seed}": [
                (size, figure(one))
                for size in sizes
                for one in found
                if (one.method, one.seed) == (f"population{size}", seed)
            ]
            for seed in sorted({one.seed for one in found})
        }
        for panel, figure in figures.items()
    }
    report = {
        (panel, "report"): {"report": [(x, pair[i]) for x, pair in REPORTED.items()]}
        for i, panel in enumerate(("report", "days"))
    }
    return here | report


def main(arguments: list[str] | None = None) -> None:
    parser = forks.parser(__doc__)
    parser.add_argument("--populations", type=int, nargs="+", default=SIZES)
    options = parser.parse_args(arguments)
    if len(set(options.populations)) < len(options.populations):
        parser.error("--populations names one twice")
    settings = {
        f"population{size}": [f"strategy.population={size}"]
        for size in options.populations
    }
    found = forks.run(settings, options)
    rows = [
        [
            size,
            methods.cell(forks.of(found, name, forks.accuracy), 100),
            methods.cell(forks.of(found, name, forks.seconds_an_epoch)),
            *REPORTED.get(size, (None, None)),
        ]
        for size, name in zip(options.populations, settings, strict=True)
    ]
    columns = [
        methods.column("population", 0),
        "valid. accuracy (%)",
        "seconds an epoch",
        "report: accuracy (%)",
        methods.column("report: GPU-days", 3),
    ]
    agreement = forks.agreement(found)
    table = {
        "title": "Figure 3 of the report",
        "columns": columns,
        "rows": rows,
        "claim": "What do accuracy and time gain or lose by larger populations?",
        "seconds": forks.seconds(found),
        "note": f"{forks.images(options)} Variant {options.variant}; "
        f"all sizes of a seed fork from one warm "
        f"start. Seconds of epochs that explore, after compilation."
        f"{forks.agreed(agreement)}",
    }
    words = (
        []
        if options.populations == SIZES
        else ["--populations", *map(str, options.populations)]
    )
    text = "Left, accuracy of the supernet; right, time. Above here, below the report."
    picture = forks.draw(
        table["title"], text, PANELS, series(found, options.populations)
    )
    forks.write(
        options, "figure3", table, forks.grid(agreement), *words, picture=picture
    )


if __name__ == "__main__":
    main()
