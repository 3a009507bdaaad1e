"""Searches scikit-learn's digits by EG-NAS, random search and DARTS.

Claim: the whole path from images to a genotype works for black-box and for gradient
methods under one protocol. The accuracies are of the supernet under its own mixing, on
validation images, and digits are easy: they do not rank the methods. The accuracy of
random search is that of a single child under weights that were trained for all
children alike, so it says little about the child.

Command: python experiments/search_digits.py --seeds 3 --out OUT
Results: docs/results.md, from results/search_digits.json.
"""

import command_line
import methods
import record_tables
import results
from methods import Method

METHODS = {
    "EG-NAS paper": Method(variant="paper"),
    "EG-NAS official": Method(variant="official"),
    "random search": Method(strategy="random_search"),
    "DARTS, first order": Method(strategy="darts"),
}
EPOCHS = (1, 3, 6, 12)  # after which accuracies are shown


def main(arguments: list[str] | None = None) -> None:
    """Runs all searches and writes their record."""
    parser = command_line.make_parser(__doc__)
    parser.add_argument("--seeds", type=command_line.positive, default=3)
    options = parser.parse_args(arguments)
    outcomes = list(methods.run_all(METHODS, options.seeds, options.out))
    table = {
        "title": "Searches on digits",
        "claim": "From images to a genotype by black-box and gradient methods; the "
        "accuracies are of supernets under their own mixing and rank no method.",
        "command": f"python experiments/search_digits.py --seeds {options.seeds} "
        f"--out OUT",
        "note": "Accuracy on validation images after the last epoch; mean and standard "
        "deviation over seeds. Random search is evaluated by a single child, under "
        f"weights that all children share. {record_tables.PASSES}",
        **record_tables.search_table(outcomes, EPOCHS),
    }
    genotypes = record_tables.genotypes(outcomes)
    results.keep(options, "search_digits", table, genotypes)


if __name__ == "__main__":
    main()
