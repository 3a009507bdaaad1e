"""A cell found by EG-NAS beside DARTS_V2 and two random cells, trained on digits.

Claim: the path goes from images over a search to a test error, and the cells are
compared at about equal numbers of weights. Digits are easy and their test set has 359
images, so that one error is 0.28 %: the cells cannot be ranked by it.

Command: python experiments/retrain_digits.py --seeds 3 --out OUT
Figures: results/retrain_digits.json, in README.
"""

import argparse

import methods
import results

from egnas_jax.cli.console import read_genotype
from egnas_jax.nn.network_config import NetworkConfig
from egnas_jax.space import zoo

NETWORK = NetworkConfig(layers=5)  # of the preset
TARGET = 54_430  # weights of DARTS_V2 with 10 channels


def main(arguments: list[str] | None = None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    methods.add_out(parser)
    options = parser.parse_args(arguments)
    search = {"found": ["--variant", "paper"]}
    (found,) = methods.run_all(search, 1, options.out / "search")
    cells = {
        "found by EG-NAS": read_genotype(str(options.out / "search" / "found-0")),
        "DARTS_V2": zoo["DARTS_V2"].genotype,
        "random 1": methods.random_genotype(1),
        "random 2": methods.random_genotype(2),
    }
    widths = {
        name: methods.equal_channels(cell, NETWORK, 1, TARGET)
        for name, cell in cells.items()
    }
    runs = {
        name: ["--genotype", cell.format(), "--set", f"network.channels={widths[name]}"]
        for name, cell in cells.items()
    }
    trained = list(methods.run_all(runs, options.seeds, options.out, "retrain"))
    table = {
        "title": "Trained cells on digits",
        "claim": "From images over a search to a test error, at about equal weights. "
        "One of the 359 test images is 0.28 %: the cells cannot be ranked by it.",
        "command": f"python experiments/retrain_digits.py --seeds {options.seeds} "
        f"--out OUT",
        "note": f"30 epochs; test error of the last. The search took "
        f"{found.summary['seconds']:.0f} s.",
        **methods.errors(trained, widths),
    }
    genotypes = {name: cell.format() for name, cell in cells.items()}
    results.keep(options, "retrain_digits", table, genotypes)


if __name__ == "__main__":
    main()
