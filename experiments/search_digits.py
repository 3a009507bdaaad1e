"""EG-NAS `paper` and `official`, random search and DARTS on scikit-learn's digits.

Claim: the whole path from images to a genotype works for black-box and for gradient
methods under one protocol. The accuracies are of the supernet under its own mixing, on
validation images, and digits are easy: they do not rank the methods. A child that
random search keeps is judged under weights that were trained for all children alike;
that, not the children's worth, is what its accuracy shows.

Command: python experiments/search_digits.py --seeds 3 --out OUT
Figures: results/search_digits.json, in README.
"""

import argparse

import methods
import results

METHODS = {
    "EG-NAS paper": ["--variant", "paper"],
    "EG-NAS official": ["--variant", "official"],
    "random search": ["--strategy", "random_search"],
    "DARTS, first order": ["--strategy", "darts"],
}
SHOWN = (1, 3, 6, 12)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=methods.counted, default=3)
    methods.add_out(parser)
    options = parser.parse_args(arguments)
    found = list(methods.run_all(METHODS, options.seeds, options.out))
    table = {
        "title": "Searches on digits",
        "claim": "From images to a genotype by black-box and gradient methods; the "
        "accuracies are of supernets under their own mixing and rank no method.",
        "command": f"python experiments/search_digits.py --seeds {options.seeds} "
        f"--out OUT",
        "note": "Accuracy on validation images after the last epoch; mean and standard "
        "deviation over seeds. Random search is judged by a single child, under "
        "weights that all children share.",
        **methods.searches(found, SHOWN),
    }
    results.keep(options, "search_digits", table, methods.genotypes(found))


if __name__ == "__main__":
    main()
