"""Figure 2 of the report: the fitness with L1 alone, L2 alone, and both.

Claim of the report: both together end highest (84.1 % against 83.5 and 83.3 %). Its
curves part at epoch 15, before alpha has moved for the first time; here all settings
share that part, and a paired test says what can be told of the rest.

Command: python experiments/figure2.py --size small --out OUT
"""

import forks

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


def main(arguments: list[str] | None = None) -> None:
    options = forks.parser(__doc__).parse_args(arguments)
    names = {name: name.replace(" ", "_") for name in SETTINGS}
    found = forks.run({names[name]: own for name, own in SETTINGS.items()}, options)
    both = forks.of(found, names["L1 and L2"], forks.accuracy)
    rows, lines = [], [
        "| fitness | valid. accuracy (%) | n | p against both | report (%) |",
        "|---|---|---|---|---|",
    ]  # fmt: skip
    for name, folder in names.items():
        values = forks.of(found, folder, forks.accuracy)
        accuracy, p = forks.summarise(values), None
        if name != "L1 and L2":
            p = forks.paired(values, both)
        curves = forks.of(
            found, folder, lambda one: [line["valid_accuracy"] for line in one.lines]
        )
        rows.append({"fitness": name, "valid_accuracy": accuracy._asdict(),
                     "p_against_both": p, "curves": curves,
                     "reported": REPORTED[name]})  # fmt: skip
        lines.append(
            f"| {name} | {forks.shown(accuracy)} | {accuracy.n} "
            f"| {'' if p is None else f'{p:.2f}'} | {REPORTED[name][50]} |"
        )
    forks.write(options, "figure2", "\n".join(lines) + "\n", {"rows": rows})


if __name__ == "__main__":
    main()
