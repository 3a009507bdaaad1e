"""A cell found by EG-NAS beside DARTS_V2 and two random cells, trained on digits.

Claim: the path goes from images over a search to a test error, and the cells are
compared at about equal numbers of weights. Digits are easy and their test set has 359
images, so that one error is 0.28 %: the cells cannot be ranked by it.

Command: python experiments/retrain_digits.py --seeds 3 --out OUT
Not run to its end yet: no figures.
"""

import argparse
import pathlib

import methods

from egnas_jax import record
from egnas_jax.console import read_genotype
from egnas_jax.space import zoo

LAYERS = 5  # of the preset
TARGET = 54_430  # weights of DARTS_V2 with 10 channels


def main(arguments: list[str] | None = None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=pathlib.Path, required=True)
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
        name: methods.equal_channels(cell, LAYERS, 1, TARGET)[0]
        for name, cell in cells.items()
    }
    runs = {
        name: ["--genotype", cell.format(),
               "--set", f"network.channels={widths[name]}"]
        for name, cell in cells.items()
    }  # fmt: skip
    trained = list(methods.run_all(runs, options.seeds, options.out, "retrain"))
    text = methods.errors(trained, widths)
    text += f"\nSearch: {found.summary['seconds']:.0f} s.\n\n"
    text += "".join(f"- {name}: `{cell.format()}`\n" for name, cell in cells.items())
    record.write_text(options.out / "table.md", text)
    print(text)


if __name__ == "__main__":
    main()
