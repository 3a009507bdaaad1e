"""EG-NAS `paper` and `official` and random search on 5,000 images of CIFAR-10.

Claim: the search runs on real images on two cores, and learns. At equal budget: the
same weight steps (24 epochs of 50 steps of 50 images) and the same number of candidate
images through the supernet (1,224 forwards of 128 images).

Command: python experiments/search_cifar10_small.py --data-dir DIR --out OUT
  DIR holds cifar-10-batches-bin, cifar-10-batches-py or the tar.gz of one of them.
Last measured, 24 November 2026, 2 cores of an AMD EPYC, jax 0.10.2, one seed: `paper`
49.8 % in 467 s, `official` 52.0 % in 551 s, random search 31.2 % in 641 s (chance 10
%). Curves, genotypes, and what they do and do not show: experiments/README.md.
"""

import argparse
import pathlib

import methods
import subset

from egnas_jax import record

IMAGES = 5_000
SIZES = [
    "--preset", "cifar10",
    "--set", "supernet.channels=8", "--set", "supernet.layers=5",
    "--set", "epochs=24", "--set", "batch_size=50", "--set", "learning_rate=0.05",
]  # fmt: skip
# An exploration prices 68 candidates: 2 samples of 2 generations of 16, or 2 samples of
# 32, each population with the current alpha beside it, and for `official` the leader of
# each sample once more. 18 explorations are 1,224 forwards, 51 in each of 24 epochs.
METHODS = {
    "EG-NAS paper": [
        "--variant", "paper", "--set", "strategy.warmup=6",
        "--set", "strategy.samples=2", "--set", "strategy.population=16",
        "--set", "strategy.generations=2",
    ],
    "EG-NAS official": [
        "--variant", "official", "--set", "strategy.warmup=6",
        "--set", "strategy.samples=2", "--set", "strategy.population=32",
    ],
    "random search": [
        "--strategy", "random_search", "--set", "strategy.candidates=50",
    ],
}  # fmt: skip
SHOWN = (1, 6, 12, 18, 24)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    options = parser.parse_args()
    sizes = [*SIZES, *subset.words(options.data_dir, options.out, IMAGES)]
    runs = {name: [*sizes, *arguments] for name, arguments in METHODS.items()}
    found = list(methods.run_all(runs, options.seeds, options.out))
    text = methods.table(found) + "\n" + methods.curves(found, SHOWN)
    text += "\n" + "\n".join(
        f"{one.method}, seed {one.seed}: `{one.summary['genotype']}`\n" for one in found
    )
    record.write_text(options.out / "table.md", text)
    print(text)


if __name__ == "__main__":
    main()
