"""EG-NAS `paper` and `official`, random search and DARTS on scikit-learn's digits.

Claim: the whole path from images to a genotype works for black-box and for gradient
methods under one protocol. The accuracies are of the supernet under its own mixing, on
validation images, and digits are easy: they do not rank the methods.

Command: python experiments/search_digits.py --seeds 1 --out DIR
Machine, time and figures of the last run: experiments/README.md.
"""

import argparse
import pathlib

import methods

from egnas_jax import record

METHODS = {
    "EG-NAS paper": ["--variant", "paper"],
    "EG-NAS official": ["--variant", "official"],
    "random search": ["--strategy", "random_search"],
    "DARTS, first order": ["--strategy", "darts"],
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    options = parser.parse_args()
    found = list(methods.run_all(METHODS, options.seeds, options.out))
    text = methods.table(found)
    record.write_text(options.out / "table.md", text)
    print(text)


if __name__ == "__main__":
    main()
