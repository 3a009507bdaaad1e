"""The cell that search_cifar10_small.py found, and a random one, on 5,000 images.

Claim: retraining works on real images on two cores: augmentation, cutout, drop path and
the cosine as in the whole recipe, at a size that a quarter of an hour allows. One seed,
few epochs and a tenth of the images: no error here can be held against a published one.

Command: python experiments/retrain_cifar10_small.py --data-dir DIR --out OUT
Figures: results/retrain_cifar10_small.json, in README.
"""

import argparse

import methods
import results
from search_cifar10_small import write_subset

from egnas_jax.space import Genotype

LAYERS = 5
TARGET = 50_000  # weights
# `paper` of search_cifar10_small.py, seed 0
FOUND = Genotype.parse(
    "Genotype(normal=[('dil_conv_5x5', 0), ('dil_conv_3x3', 1), ('sep_conv_5x5', 2), "
    "('sep_conv_5x5', 1), ('dil_conv_3x3', 3), ('dil_conv_3x3', 1), "
    "('sep_conv_3x3', 2), ('dil_conv_5x5', 3)], normal_concat=range(2, 6), "
    "reduce=[('sep_conv_5x5', 1), ('dil_conv_3x3', 0), ('sep_conv_5x5', 0), "
    "('sep_conv_5x5', 1), ('dil_conv_5x5', 1), ('sep_conv_3x3', 3), "
    "('dil_conv_5x5', 2), ('dil_conv_5x5', 1)], reduce_concat=range(2, 6))"
)
SIZES = [
    "epochs=12", "evaluate_every=4", "batch_size=50", "learning_rate=0.05",
    f"network.layers={LAYERS}", "network.auxiliary=false", "network.drop_path=0.1",
]  # fmt: skip


def main(arguments: list[str] | None = None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", required=True)
    methods.add_out(parser)
    options = parser.parse_args(arguments)
    subset = options.out / "cifar10-small.npz"
    if not subset.exists():
        write_subset(options.data_dir, subset)
    cells = {"found by EG-NAS": FOUND, "random 1": methods.random_genotype(1)}
    widths = {
        name: methods.equal_channels(cell, LAYERS, 3, TARGET)[0]
        for name, cell in cells.items()
    }
    runs = {}
    for name, cell in cells.items():
        settings = [*SIZES, f"data.path={subset}", f"network.channels={widths[name]}"]
        runs[name] = ["--preset", "cifar10", "--genotype", cell.format()]
        runs[name] += [word for setting in settings for word in ("--set", setting)]
    trained = list(methods.run_all(runs, 1, options.out, "retrain"))
    table = {
        "title": "Trained cells on 5,000 images of CIFAR-10",
        "claim": "Retraining works on real images on two cores. One seed, 12 epochs, "
        "a tenth of the images: no error here can be held against a published one.",
        "command": "python experiments/retrain_cifar10_small.py --data-dir DIR "
        "--out OUT",
        "note": "Test error of the last epoch, on the 10,000 test images.",
        **methods.errors(trained, widths),
    }
    details = {
        name: {
            "genotype": cell.format(),
            "test_error": {line["epoch"] + 1: line["test_error"] for line in one.lines
                           if line["test_error"] is not None},
        }
        for (name, cell), one in zip(cells.items(), trained, strict=True)
    }  # fmt: skip
    kept = "retrain_cifar10_small" if options.record else None
    results.write(options.out / "table.json", table, details, kept)


if __name__ == "__main__":
    main()
