"""How much of a fitness is noise: individuals on many validation batches, some seeds.

EG-NAS chooses by one fitness batch an exploration. After a search of each seed the
individuals that its next exploration would begin with are evaluated on many disjoint
batches, under running and under batch statistics: how well does one batch repeat the
ranks of another, and how many must be judged together until ranks repeat?

Command: python experiments/noise.py --size small --data-dir DIR --out OUT
"""

import argparse
import json
from typing import NamedTuple

import forks
import methods
import subset

from egnas_jax.search.evaluate import STATISTICS
from egnas_jax.studies.report.page import Figure

METHOD = "search"
PARTS = {"fitness": "fitness", "cross_entropy": "cross entropy"}


class Size(NamedTuple):
    """How large searches are, and what is evaluated.

    Attributes:
      search: arguments of all searches.
      images: of CIFAR-10 that are taken; 0: the preset's data as they are.
      individuals: that are evaluated.
      seeds: how many by default.
    """

    search: tuple[str, ...]
    images: int
    individuals: int
    seeds: int


SIZES = {
    "tiny": Size(
        (*forks.SIZES["tiny"].arguments, "--set", "strategy.warmup=3"), 0, 20, 3
    ),
    "small": Size(
        ("--preset", "cifar10", *forks.settings(**forks.CIFAR10_SMALL, epochs=12)),
        5_000,
        50,
        3,
    ),
    "full": Size(("--preset", "cifar10"), 0, 50, 3),
}


def studies(options: argparse.Namespace) -> tuple[list[methods.Found], list[dict]]:
    """A search a seed, and what `egnas noise` wrote of it; run where they are missing.

    Raises:
      ValueError: the images are not there.
    """
    size = SIZES[options.size]
    data = subset.words(options.data_dir, options.out, size.images)
    settings = [word for one in options.settings for word in ("--set", one)]
    search = [*size.search, "--variant", options.variant, *data, *settings]
    seeds = options.seeds or size.seeds
    found = list(methods.run_all({METHOD: search}, seeds, options.out))
    made = []
    for seed in range(seeds):
        folder = options.out / f"{METHOD}-{seed}"
        command = ["noise", str(folder), "--individuals", str(size.individuals)]
        command += [] if size.images else data
        methods.once(command, folder, "noise.json", resume=False)
        made.append(json.loads((folder / "noise.json").read_text()))
    return found, made


def row(made: list[dict], kind: str, part: str) -> list:
    """Of one kind of statistics and one figure, over the seeds."""
    own = [one["statistics"][kind][part] for one in made]
    needed = [one["batches_for"] for one in own]
    return [
        f"{PARTS[part]}, {kind} statistics",
        _cell([one["kendall"]["mean"] for one in own]),
        _cell([one["by_batches"][-1]["mean"] for one in own]),
        *(
            _cell([one["variance_share"][name] for one in own], 100)
            for name in ("candidate", "batch")
        ),
        _cell([one["same_winner"] for one in own], 100),
        ", ".join(
            f"> {one['measured_up_to']}"
            if one["batches"] is None
            else f"{one['batches']:,}"
            for one in needed
        ),
    ]


def _cell(values: list[float | None], scale: float = 1.0) -> dict | None:
    """Over the seeds that have the figure."""
    known = [value for value in values if value is not None]
    return methods.cell(known, scale) if known else None


def drawn(title: str, made: list[dict]) -> Figure:
    """Kendall's tau of two sets by the number of batches in each."""
    size = made[0]["batch_size"]
    label = f"batches of {size} images in a set"
    panels = {part: (label, f"tau by {name}") for part, name in PARTS.items()}
    series = {
        (part, f"{kind} statistics"): {
            f"seed {seed}": [
                (entry["batches"], entry["mean"])
                for entry in one["statistics"][kind][part]["by_batches"]
                if entry["mean"] is not None
            ]
            for seed, one in enumerate(made)
        }
        for part in PARTS
        for kind in STATISTICS
    }
    text = (
        "Kendall's tau of the ranks that two disjoint sets of validation batches give "
        "the same individuals; 1: the same, 0: as chance has it. Thin: seeds; thick: "
        "their mean."
    )
    return forks.draw(title, text, panels, series)


def main(arguments: list[str] | None = None) -> None:
    parser = forks.parser(__doc__)
    options = parser.parse_args(arguments)
    try:
        found, made = studies(options)
    except ValueError as error:
        parser.error(str(error))
    first = made[0]
    most = first["statistics"]["running"]["fitness"]["by_batches"][-1]["batches"]
    against = _cell(
        [one["running_against_batch"]["fitness"]["kendall_on_all"] for one in made]
    )
    alike = f"with a tau of {against['mean']:.2f}" if against else "not at all"
    size = SIZES[options.size]
    title = "How much of the fitness is noise?"
    table = {
        "title": title,
        "claim": "Does one fitness batch rank individuals as another one does, and how "
        "many batches does it take?",
        "columns": [
            "ranked by",
            "tau of two batches",
            f"tau of two sets of {most}",
            methods.column("variance from the individual (%)", 1),
            methods.column("from the batch (%)", 1),
            methods.column("same winner on two batches (%)", 0),
            f"batches for a rank correlation of {first['reliability']}, of each seed",
        ],
        "rows": [row(made, kind, part) for part in PARTS for kind in STATISTICS],
        "seconds": forks.seconds(found) + sum(one["seconds"] for one in made),
        "note": f"{first['size']} individuals on {first['batches']} batches of "
        f"{first['batch_size']} validation images, after {first['epochs']} epochs. "
        f"{forks.images(options, size.search, size.images)} Variant "
        f"{options.variant}. Mean and standard deviation over seeds. Fitness of "
        f"several batches: one, over all their images. Rank correlation: Spearman's, "
        f"of two such sets; above {most} the batches that the cross entropy needs are "
        f"extrapolated, those that the fitness needs, which is no mean, not known. "
        f"Running and batch statistics rank alike by all batches {alike}.",
    }
    forks.write(options, "noise", table, made, picture=drawn(title, made))


if __name__ == "__main__":
    main()
