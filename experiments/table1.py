"""Table 1 of the report: validation accuracy by the weights zeta and eta.

Claim of the report: zeta = 1, eta = 0.4 is best (84.088 %), of 16 single runs between
83.1 and 84.1 %. Here every setting has the same seeds and the same warm start, so that
what remains is the setting or chance, and a paired test says which can be told. Each
exploration also tells which individual every other setting would have chosen from the
same population: how often that is the one that 1.0, 0.4 chooses stands beside it.

Command: python experiments/table1.py --size small --out OUT
"""

import statistics

import forks
import methods

WEIGHTS = (1.0, 0.8, 0.4, 0.2)
DEFAULT, DEFAULT_GRID = "1.0,0.4", "1.0_0.4"
# validation accuracy (%) and parameters (M) that the report prints: zeta, eta
REPORTED = {
    (1.0, 1.0): (84.036, 3.00), (1.0, 0.8): (83.984, 2.36),
    (1.0, 0.4): (84.088, 2.58), (1.0, 0.2): (84.028, 3.21),
    (0.8, 1.0): (83.980, 2.39), (0.8, 0.8): (83.668, 2.74),
    (0.8, 0.4): (83.724, 1.83), (0.8, 0.2): (83.356, 2.28),
    (0.4, 1.0): (83.768, 3.17), (0.4, 0.8): (83.852, 3.51),
    (0.4, 0.4): (83.632, 2.77), (0.4, 0.2): (83.184, 3.46),
    (0.2, 1.0): (83.768, 3.51), (0.2, 0.8): (83.880, 2.48),
    (0.2, 0.4): (83.684, 2.77), (0.2, 0.2): (83.096, 3.40),
}  # fmt: skip


def agreements(found: list[methods.Found], name: str) -> dict[str, float]:
    """How often each pair of the report's grid would have chosen as a setting did, mean
    over its seeds."""
    return {
        f"{zeta},{eta}": statistics.mean(
            forks.mean_of(one, f"grid_{zeta}_{eta}")
            for one in found
            if one.method == name
        )
        for zeta, eta in REPORTED
    }


def main(arguments: list[str] | None = None) -> None:
    parser = forks.parser(__doc__)
    parser.add_argument("--weights", type=float, nargs="+", default=WEIGHTS,
                        help="of zeta and of eta (the report's)")  # fmt: skip
    options = parser.parse_args(arguments)
    if len(set(options.weights)) < len(options.weights):
        parser.error("--weights names one twice")
    grid = [(zeta, eta) for zeta in options.weights for eta in options.weights]
    settings = {
        f"{zeta},{eta}": [
            f"strategy.zeta={zeta}",
            f"strategy.eta={eta}",
            "strategy.price_grid=true",
        ]
        for zeta, eta in grid
    }
    found = forks.run(settings, options)
    default = forks.of(found, DEFAULT, forks.accuracy)
    rows, details = [], {}
    for (zeta, eta), name in zip(grid, settings, strict=True):
        values = forks.of(found, name, forks.accuracy)
        params = forks.of(found, name, lambda one: one.summary["params"] / 1e6)
        agreement = forks.of(
            found, name, lambda one: forks.mean_of(one, f"grid_{DEFAULT_GRID}")
        )
        tested = default and name != DEFAULT
        rows.append([
            zeta, eta, methods.cell(values, 100),
            forks.p_value(values, default) if tested else None,
            methods.cell(agreement, 100), methods.cell(params),
            *REPORTED.get((zeta, eta), (None, None)),
        ])  # fmt: skip
        details[name] = {
            "genotypes": forks.of(found, name, lambda one: one.summary["genotype"]),
            "chooses as": agreements(found, name),
        }
    columns = [
        forks.column("zeta", 1), forks.column("eta", 1), "valid. accuracy (%)",
        "p against 1.0, 0.4", forks.column("chooses as 1.0, 0.4 (%)", 0), "params (M)",
        "report: accuracy (%)", "report: params (M)",
    ]  # fmt: skip
    table = {
        "title": "Table 1 of the report", "columns": columns, "rows": rows,
        "claim": "Can the weights zeta and eta of the fitness be told apart?",
        "seconds": forks.seconds(found),
        "note": f"{forks.images(options)} Variant {options.variant}; "
        f"all settings of a seed fork from one warm "
        f"start. p of a paired t test over seeds, not corrected for 15 of them.",
    }  # fmt: skip
    words = [] if options.weights == WEIGHTS else [
        "--weights", *map(str, options.weights)]  # fmt: skip
    forks.write(options, "table1", table, details, *words)


if __name__ == "__main__":
    main()
