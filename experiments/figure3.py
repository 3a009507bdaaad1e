"""Figure 3 of the report: accuracy and search time by the size of the population.

Claim of the report: 50 individuals are a good size; from 30 to 50 accuracy rises most
(83.60 to 84.08 %) at little more time (0.075 to 0.081 GPU-days).

Command: python experiments/figure3.py --size small --out OUT
"""

import forks

SIZES = (15, 30, 50, 70, 100)
# read off the printed figure: validation accuracy (%) and GPU-days
REPORTED = {
    15: (83.32, 0.072), 30: (83.60, 0.075), 50: (84.08, 0.081), 70: (84.20, 0.086),
    100: (84.31, 0.094),
}  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    parser = forks.parser(__doc__)
    parser.add_argument("--populations", type=int, nargs="+", default=SIZES)
    options = parser.parse_args(arguments)
    settings = {
        f"population{size}": [f"strategy.population={size}"]
        for size in options.populations
    }
    found = forks.run(settings, options)
    rows, lines = [], [
        "| population | valid. accuracy (%) | n | seconds an epoch "
        "| report: accuracy (%) | report: GPU-days |",
        "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for size, name in zip(options.populations, settings, strict=True):
        accuracy = forks.summarise(forks.of(found, name, forks.accuracy))
        pace = forks.summarise(forks.of(found, name, forks.seconds_an_epoch))
        rows.append({"population": size, "valid_accuracy": accuracy._asdict(),
                     "seconds_an_epoch": pace._asdict()})  # fmt: skip
        theirs = map(str, REPORTED.get(size, ("", "")))
        cells = [f"{size}", forks.shown(accuracy), f"{accuracy.n}",
                 forks.shown(pace, 1.0), *theirs]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    forks.write(options, "figure3", "\n".join(lines) + "\n", {"rows": rows})


if __name__ == "__main__":
    main()
