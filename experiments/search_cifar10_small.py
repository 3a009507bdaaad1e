"""EG-NAS `paper` and `official` and random search on 5,000 images of CIFAR-10.

Claim: the search runs on real images on two cores, and learns. At equal budget: the
same weight steps (24 epochs of 50 steps of 50 images) and the same number of candidate
images through the supernet (1,224 forwards of 128 images).

Command: python experiments/search_cifar10_small.py --data-dir DIR --out OUT
  DIR holds cifar-10-batches-bin, cifar-10-batches-py or the tar.gz of one of them.
What it does not show is which method is better: the accuracies are of the supernet
under its own mixing, those of `official` on augmented validation images; random search
is judged by a single child, EG-NAS by a mixture of all primitives.
Figures: results/search_cifar10_small.json, in README.
"""

import argparse

import methods
import results
import subset

IMAGES = 5_000
SIZES = [
    "--preset",
    "cifar10",
    "--set",
    "supernet.channels=8",
    "--set",
    "supernet.layers=5",
    "--set",
    "epochs=24",
    "--set",
    "batch_size=50",
    "--set",
    "learning_rate=0.05",
]
# An exploration prices 68 candidates: 2 samples of 2 generations of 16, or 2 samples of
# 32, each population with the current alpha beside it, and for `official` the leader of
# each sample once more. 18 explorations are 1,224 forwards, 51 in each of 24 epochs.
METHODS = {
    "EG-NAS paper": [
        "--variant",
        "paper",
        "--set",
        "strategy.warmup=6",
        "--set",
        "strategy.samples=2",
        "--set",
        "strategy.population=16",
        "--set",
        "strategy.generations=2",
    ],
    "EG-NAS official": [
        "--variant",
        "official",
        "--set",
        "strategy.warmup=6",
        "--set",
        "strategy.samples=2",
        "--set",
        "strategy.population=32",
    ],
    "random search": [
        "--strategy",
        "random_search",
        "--set",
        "strategy.candidates=50",
    ],
}
SHOWN = (1, 6, 12, 18, 24)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data-dir", type=lambda text: str(methods.absolute(text)), required=True
    )
    parser.add_argument("--seeds", type=methods.counted, default=1)
    methods.add_out(parser)
    options = parser.parse_args(arguments)
    try:
        data = subset.words(options.data_dir, options.out, IMAGES)
    except ValueError as error:
        parser.error(str(error))
    runs = {name: [*SIZES, *data, *own] for name, own in METHODS.items()}
    found = list(methods.run_all(runs, options.seeds, options.out))
    table = {
        "title": "Searches on 5,000 images of CIFAR-10",
        "claim": "The search runs on real images on two cores, and learns (chance: "
        "10 %); no method is ranked.",
        "command": f"python experiments/search_cifar10_small.py --data-dir DIR "
        f"--seeds {options.seeds} --out OUT",
        "note": "Accuracy on validation images after the last epoch, of supernets "
        "under their own mixing; `official` on augmented ones, random search by a "
        "single child. Equal weight steps and equal candidate images.",
        **methods.searches(found, SHOWN),
    }
    results.keep(options, "search_cifar10_small", table, methods.genotypes(found))


if __name__ == "__main__":
    main()
