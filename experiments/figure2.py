"""Figure 2 of the report: the fitness with L1 alone, L2 alone, and both.

Claim of the report: both together end highest (84.1 % against 83.5 and 83.3 %). Its
curves part at epoch 15, before alpha has moved for the first time; here all settings
share that part, and a paired test says what can be told of the rest.

Command: python experiments/figure2.py --size small --out OUT
"""

import forks
import methods

from egnas_jax.studies.report.curves import EPOCHS

SETTINGS = {
    "L1 only": ["strategy.zeta=1.0", "strategy.eta=0.0"],
    "L2 only": ["strategy.zeta=0.0", "strategy.eta=0.4"],
    "L1 and L2": ["strategy.zeta=1.0", "strategy.eta=0.4"],
}
# read off the printed figure, +-0.15: validation accuracy (%) after so many epochs
REPORTED = {
    "L1 only": {15: 63.6, 20: 71.3, 30: 77.9, 40: 82.0, 50: 83.5},
    "L2 only": {15: 66.8, 20: 72.1, 30: 77.7, 40: 81.5, 50: 83.3},
    "L1 and L2": {15: 67.2, 20: 73.3, 30: 79.5, 40: 82.6, 50: 84.1},
}


PANELS = {
    "ours": (EPOCHS, "here: validation accuracy (%)"),
    "report": (EPOCHS, "report: validation accuracy (%)"),
    "difference": (EPOCHS, "here: minus L1 and L2 (points)"),
}


def curves(found: list[methods.Found], name: str) -> dict[str, list]:
    """(epochs trained, accuracy in percent) of every seed of a setting."""
    return {
        f"seed {one.seed}": [
            (line["epoch"] + 1, 100 * line["valid_accuracy"]) for line in one.lines
        ]
        for one in found
        if one.method == name
    }


def difference(own: dict[str, list], other: dict[str, list]) -> dict[str, list]:
    """What separates two settings, seed by seed."""
    return {
        seed: [
            (x, y - z) for (x, y), (_, z) in zip(own[seed], other[seed], strict=True)
        ]
        for seed in own
    }


def main(arguments: list[str] | None = None) -> None:
    options = forks.parser(__doc__).parse_args(arguments)
    names = {name: name.replace(" ", "_") for name in SETTINGS}
    found = forks.run({names[name]: own for name, own in SETTINGS.items()}, options)
    both = forks.of(found, names["L1 and L2"], forks.accuracy)
    rows, series = [], {}
    for name, folder in names.items():
        values = forks.of(found, folder, forks.accuracy)
        p = None if name == "L1 and L2" else methods.p_value(values, both)
        rows.append([name, methods.cell(values, 100), p, REPORTED[name][50]])
        series["ours", name] = curves(found, folder)
        series["report", name] = {"report": list(REPORTED[name].items())}
    for name in names:
        series["difference", name] = difference(
            series["ours", name], series["ours", "L1 and L2"]
        )
    agreement = forks.agreement(found)
    table = {
        "title": "Figure 2 of the report",
        "rows": rows,
        "columns": [
            "fitness",
            "valid. accuracy (%)",
            "p against both",
            methods.column("report (%)", 1),
        ],
        "claim": "Does the fitness need both of its terms?",
        "seconds": forks.seconds(found),
        "note": f"{forks.images(options)} Variant {options.variant}; "
        f"all three of a seed fork from one warm "
        f"start. p of a paired t test over seeds "
        f"(none where all end alike).{forks.agreed(agreement)}",
    }
    picture = forks.draw(
        table["title"],
        "Accuracy of the supernet; difference from both terms, seed by seed.",
        PANELS,
        series,
    )
    forks.write(options, "figure2", table, forks.grid(agreement), picture=picture)


if __name__ == "__main__":
    main()
