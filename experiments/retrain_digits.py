"""Trains a cell found by EG-NAS, DARTS_V2 and two random cells on digits.

Claim: the path goes from images over a search to a test error, and the cells are
compared at about equal numbers of weights. Digits are easy and their test set has 359
images, so one error is 0.28 %: the cells cannot be ranked by it.

Command: python experiments/retrain_digits.py --seeds 3 --out OUT
Results: docs/results.md, from results/retrain_digits.json.
"""

import command_line
import methods
import record_tables
import results
from methods import Method, Training
from random_cells import equal_channels, random_genotype

from egnas_jax import Genotype, NetworkConfig, zoo

NETWORK = NetworkConfig(layers=5)  # as the preset has it
TARGET = 54_430  # weights of DARTS_V2 with 10 channels


def main(arguments: list[str] | None = None) -> None:
    """Searches one cell, trains all cells and writes their record."""
    parser = command_line.make_parser(__doc__)
    parser.add_argument("--seeds", type=command_line.positive, default=3)
    options = parser.parse_args(arguments)
    search = {"found": Method(variant="paper")}
    (searched,) = methods.run_all(search, 1, options.out / "search")
    cells = {
        "found by EG-NAS": Genotype.parse(searched.summary["genotype"]),
        "DARTS_V2": zoo["DARTS_V2"].genotype,
        "random 1": random_genotype(1),
        "random 2": random_genotype(2),
    }
    widths = {
        name: equal_channels(cell, NETWORK, 1, TARGET) for name, cell in cells.items()
    }
    trainings = {
        name: Training(cell, settings={"network.channels": widths[name]})
        for name, cell in cells.items()
    }
    outcomes = list(methods.run_all(trainings, options.seeds, options.out))
    table = {
        "title": "Trained cells on digits",
        "claim": "From images over a search to a test error, at about equal weights. "
        "One of the 359 test images is 0.28 %: the cells cannot be ranked by it.",
        "command": f"python experiments/retrain_digits.py --seeds {options.seeds} "
        f"--out OUT",
        "note": f"30 epochs; test error of the last. The search took "
        f"{searched.summary['seconds']:.0f} s.",
        **record_tables.error_table(outcomes, widths),
    }
    genotypes = {name: cell.format() for name, cell in cells.items()}
    results.keep(options, "retrain_digits", table, genotypes)


if __name__ == "__main__":
    main()
