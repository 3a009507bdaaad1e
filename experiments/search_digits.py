"""EG-NAS `paper` and `official`, random search and DARTS on scikit-learn's digits.

Claim: the whole path from images to a genotype works for black-box and for gradient
methods under one protocol. The accuracies are of the supernet under its own mixing, on
validation images, and digits are easy: they do not rank the methods.

Command: python experiments/search_digits.py --seeds 1 --out DIR
Machine, time and figures of the last run: experiments/README.md.
"""

import argparse
import json
import pathlib

from egnas_jax import record
from egnas_jax.cli import main as egnas

METHODS = {
    "EG-NAS paper": ["--variant", "paper"],
    "EG-NAS official": ["--variant", "official"],
    "random search": ["--strategy", "random_search"],
    "DARTS, first order": ["--strategy", "darts"],
}


def rows(out: pathlib.Path, seeds: int):
    """(method, seed, summary) of every run; finished runs are not repeated."""
    for method, arguments in METHODS.items():
        for seed in range(seeds):
            folder = out / f"{method.replace(' ', '_').replace(',', '')}-{seed}"
            if not (folder / "summary.json").exists():
                more = ["--set", f"seed={seed}", "--out", str(folder)]
                resume = ["--resume"] if folder.exists() else []
                code = egnas(["search", *arguments, *more, *resume])
                if code:
                    raise SystemExit(code)
            yield method, seed, json.loads((folder / "summary.json").read_text())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    options = parser.parse_args()
    table = ["| method | seed | validation accuracy | first epoch | seconds |",
             "|---|---|---|---|---|"]  # fmt: skip
    for method, seed, summary in rows(options.out, options.seeds):
        table.append(
            f"| {method} | {seed} | {100 * summary['valid_accuracy']:.1f} % "
            f"| {100 * summary['first_valid_accuracy']:.1f} % "
            f"| {summary['seconds']:.0f} |"
        )
    record.write_text(options.out / "table.md", "\n".join(table) + "\n")
    print("\n".join(table))


if __name__ == "__main__":
    main()
