"""Searches 5,000 images of CIFAR-10 by EG-NAS and random search at equal budget.

Claim: the search runs on real images on two cores, and learns. Equal budget means the
same weight steps (24 epochs of 50 steps of 50 images) and the same number of candidate
images through the supernet (1,224 forward passes of 128 images).

Command: python experiments/search_cifar10_small.py --data-dir DIR --out OUT
  DIR holds cifar-10-batches-bin, cifar-10-batches-py or the tar.gz of one of them.
It does not show which method is better: the accuracies are of the supernet under its
own mixing, those of `official` on augmented validation images; random search is
evaluated by a single child, EG-NAS by a mixture of all primitives.
Results: docs/results.md, from results/search_cifar10_small.json.
"""

import command_line
import methods
import record_tables
import results
import subset
from methods import Method

IMAGES = 5_000
SIZES = {
    "supernet.channels": 8,
    "supernet.layers": 5,
    "epochs": 24,
    "batch_size": 50,
    "learning_rate": 0.05,
}
EGNAS = {"strategy.warmup": 6, "strategy.samples": 2}
# An exploration evaluates 68 candidates: 2 samples of 2 generations of 16, or 2 samples
# of 32, each population with the current alpha beside it, and for `official` the best
# of each sample once more. 18 explorations are 1,224 forward passes, 51 in each of 24
# epochs.
METHODS = {
    "EG-NAS paper": Method(
        "cifar10",
        variant="paper",
        settings={**EGNAS, "strategy.population": 16, "strategy.generations": 2},
    ),
    "EG-NAS official": Method(
        "cifar10", variant="official", settings={**EGNAS, "strategy.population": 32}
    ),
    "random search": Method(
        "cifar10", "random_search", settings={"strategy.candidates": 50}
    ),
}
EPOCHS = (1, 6, 12, 18, 24)  # after which accuracies are shown


def main(arguments: list[str] | None = None) -> None:
    """Runs all searches and writes their record."""
    parser = command_line.make_parser(__doc__)
    parser.add_argument("--data-dir", type=command_line.absolute_text, required=True)
    parser.add_argument("--seeds", type=command_line.positive, default=1)
    options = parser.parse_args(arguments)
    try:
        source = subset.locate(options.data_dir, options.out, IMAGES)
    except ValueError as error:
        parser.error(str(error))
    common = {**SIZES, **source.settings}
    searches = {name: method.with_settings(common) for name, method in METHODS.items()}
    outcomes = list(methods.run_all(searches, options.seeds, options.out))
    table = {
        "title": "Searches on 5,000 images of CIFAR-10",
        "claim": "The search runs on real images on two cores, and learns (chance: "
        "10 %); no method is ranked.",
        "command": f"python experiments/search_cifar10_small.py --data-dir DIR "
        f"--seeds {options.seeds} --out OUT",
        "note": "Accuracy on validation images after the last epoch, of supernets "
        "under their own mixing; `official` on augmented ones, random search by a "
        "single child. Equal weight steps and equal candidate images. "
        f"{record_tables.PASSES}",
        **record_tables.search_table(outcomes, EPOCHS),
    }
    genotypes = record_tables.genotypes(outcomes)
    results.keep(options, "search_cifar10_small", table, genotypes)


if __name__ == "__main__":
    main()
