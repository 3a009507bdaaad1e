"""Table 2 of the report: a found cell trained with several seeds, beside random cells.

Searches with EG-NAS, of which validation accuracy chooses one; the cell of that one is
trained from scratch with every seed. As a baseline each seed trains a random cell of
about as many weights. What is left between the two is said of this one cell: how much
searches differ, chance.py asks.

In pieces of any length, searches and trainings alike: each call goes on where the last
one ended, also where that was killed with its run, and says how far it came. The last
one writes the table and ends with exit code 0, those before it with 130.

Claim of the report: 2.73 % test error on CIFAR-10 (4 seeds) and 17.91 % on CIFAR-100,
by the best of more than 20 searches of 0.08 GPU-days each.

Command: python experiments/table2.py --size small --data-dir DIR --out OUT
  --preset cifar100 for the other column; --genotype GENOTYPE for a cell that is there
  already; --minutes M or --epochs-now N ends this piece; --set PATH=VALUE as `egnas
  search` takes it, --train PATH=VALUE as `egnas retrain` does.
"""

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import forks
import methods
import pieces
import subset
from pieces import Job

from egnas_jax.cli.console import read_genotype
from egnas_jax.nn.cost import count_params
from egnas_jax.runs import search_config
from egnas_jax.runs.retrain_config import retrain_config, with_genotype
from egnas_jax.settings import assignments
from egnas_jax.space import Genotype
from egnas_jax.studies import retrain_seeds

# test errors (%) of four seeds, weights (M), search cost (GPU-days)
REPORTED = {
    "report, CIFAR-10": ((2.77, 2.68, 2.84, 2.65), 2.58, 0.08),
    "report, CIFAR-100": ((18.05, 17.79, 17.96, 17.84), 2.39, 0.08),
}
DAY = 86_400
# name, classes, channels of an image
IMAGES = {
    "digits": (forks.DIGITS_ARE, 10, 1),
    "cifar10": ("CIFAR-10", 10, 3),
    "cifar100": ("CIFAR-100", 100, 3),
}


class Size(NamedTuple):
    """How large searches and trainings are.

    Attributes:
      preset: of both.
      search, train: settings of every search and training, words of a command line.
      images: of the data set that are taken; 0: all.
      searches, seeds: how many by default.
    """

    preset: str
    search: tuple[str, ...]
    train: tuple[str, ...]
    images: int
    searches: int
    seeds: int


SIZES = {
    "tiny": Size(
        "digits",
        (*forks.TINY_EGNAS, *forks.settings(strategy__warmup=3)),
        forks.settings(network__layers=2, epochs=8),
        0,
        2,
        2,
    ),
    "small": Size(
        "cifar10",
        forks.settings(**forks.CIFAR10_SMALL, epochs=24),
        forks.settings(
            network__channels=8,
            network__layers=5,
            network__auxiliary="false",
            network__drop_path=0.1,
            epochs=12,
            evaluate_every=4,
            batch_size=50,
            learning_rate=0.05,
        ),
        5_000,
        2,
        3,
    ),
    "full": Size("cifar10", (), (), 0, 4, 4),
}


def best(searches: list[Job]) -> Job:
    """The finished search whose supernet has the highest validation accuracy."""
    return max(searches, key=lambda job: pieces.summary_of(job)["valid_accuracy"])


def search_jobs(
    options: argparse.Namespace, size: Size, data: Sequence[str]
) -> list[Job]:
    """The searches that a cell is chosen from; none where it is given.

    Args:
      options: of the command line.
      size: what they come to.
      data: where the images are, words of a command line.

    Raises:
      ValueError: a setting that `egnas search` does not take.
    """
    if options.genotype is not None:
        return []
    words = [*size.search, *_words(options.settings)]
    built = search_config.build(
        size.preset, variant=options.variant, overrides=words[1::2]
    )
    command = (
        "search",
        "--preset",
        size.preset,
        "--variant",
        options.variant,
        *words,
        *data,
    )
    return [
        Job(
            (*command, "--set", f"seed={seed}"),
            options.out / f"search{seed}",
            built.epochs,
        )
        for seed in range(size.searches)
    ]


def train_jobs(
    options: argparse.Namespace,
    size: Size,
    data: Sequence[str],
    source: str,
    cell: Genotype,
) -> tuple[list[Job], list[Job]]:
    """A training of the cell and one of a random cell for every seed.

    Args:
      options, size, data: as of `search_jobs`.
      source: what `egnas retrain --genotype` is to read the cell from.
      cell: the same.

    Raises:
      ValueError: a setting that `egnas retrain` does not take.
    """
    words = [*size.train, *_words(options.train)]
    built = retrain_config(size.preset, settings=assignments(words[1::2]))
    built = with_genotype(built, cell)
    _, classes, image_channels = IMAGES[size.preset]
    network = dataclasses.replace(built.network, num_classes=classes)
    weights = count_params(cell, network, image_channels=image_channels)
    found, drawn = [], []
    for seed in range(size.seeds):
        own = (
            "retrain",
            "--preset",
            size.preset,
            *words,
            *data,
            "--set",
            f"seed={seed}",
        )
        folder = options.out / f"seed{seed}"
        found.append(Job((*own, "--genotype", source), folder, built.epochs))
        other = methods.random_genotype(seed)
        channels = methods.equal_channels(other, network, image_channels, weights)
        own += ("--set", f"network.channels={channels}", "--genotype", other.format())
        drawn.append(Job(own, options.out / f"random{seed}", built.epochs))
    return found, drawn


def _words(settings: Sequence[str]) -> list[str]:
    return [word for one in settings for word in ("--set", one)]


def _parser() -> argparse.ArgumentParser:
    parser = forks.parser(__doc__)
    add = parser.add_argument
    add(
        "--preset",
        choices=("cifar10", "cifar100"),
        help="data set and recipe of the sizes small and full (cifar10)",
    )
    add("--genotype", help="the cell, instead of searches")
    add(
        "--searches",
        type=methods.counted,
        metavar="N",
        help="how many a cell is chosen from (the size's)",
    )
    add(
        "--train",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        type=methods.unseeded,
        help="change one setting of all trainings",
    )
    pieces.add_limits(parser)
    return parser


def _size(options: argparse.Namespace) -> Size:
    """What the command line comes to; refuses what would be run in vain.

    Raises:
      ValueError: as said.
    """
    size = SIZES[options.size]
    if options.preset and size.preset == "digits":
        raise ValueError(f"--size {options.size} is on digits: leave --preset out.")
    if options.genotype is not None and (options.searches or options.settings):
        raise ValueError(
            "With --genotype nothing is searched: leave --searches and --set out."
        )
    for setting in (*options.settings, *options.train):
        if setting.startswith(("data.path=", "data.name=")):
            raise ValueError(
                f"{setting}: searches and trainings share the images of "
                f"the size. Leave it out."
            )
    size = size._replace(
        preset=options.preset or size.preset,
        searches=options.searches or size.searches,
        seeds=options.seeds or size.seeds,
    )
    cell = methods.random_genotype(0)
    if options.genotype is not None:
        cell = read_genotype(options.genotype)
    search_jobs(options, size, ())
    train_jobs(options, size, (), "", cell)
    return size


def main(arguments: list[str] | None = None, run: Callable = pieces.run_until) -> None:
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        size = _size(options)
        data = subset.words(options.data_dir, options.out, size.images, size.preset)
    except ValueError as error:
        parser.error(str(error))
    pieces.listen()
    searches = search_jobs(options, size, data)
    left = pieces.carry(searches, pieces.limits(options), run)
    print(pieces.progress(searches), end="")
    if not all(map(pieces.summary_of, searches)):
        raise SystemExit(pieces.INTERRUPTED)
    source = options.genotype or str(best(searches).folder)
    found, drawn = train_jobs(options, size, data, source, read_genotype(source))
    pieces.carry([*found, *drawn], left, run)
    print(pieces.progress([*found, *drawn]), end="")
    if not all(map(pieces.summary_of, [*found, *drawn])):
        raise SystemExit(pieces.INTERRUPTED)
    _write(options, size, searches, found, drawn)


def _write(options, size, searches, found, drawn) -> None:
    """The tables, when all have ended."""
    own = [
        pieces.summary_of(job) | {"seed": seed, "run": str(job.folder)}
        for seed, job in enumerate(found)
    ]
    others = [pieces.summary_of(job) for job in drawn]
    whole = retrain_seeds.aggregate(own)
    retrain_seeds.write(options.out, whole)
    errors, chance = (
        [one["test_error_last"] for one in several] for several in (own, others)
    )
    days = whole["search_seconds"] and whole["search_seconds"] / DAY
    first = "found by EG-NAS" if searches else "the given cell"
    rows = [
        _row(first, errors, [one["params"] for one in own], days),
        _row("random cells, one a seed", chance, [one["params"] for one in others]),
    ]
    rows += [
        _row(name, [value / 100 for value in values], [1e6 * weights], days)
        for name, (values, weights, days) in REPORTED.items()
    ]
    several = len(searches) > 1
    chosen = (
        f"{f'The best of {len(searches)} searches' if several else 'One search'} "
        f"(variant {options.variant}){' by validation accuracy' if several else ''}; "
        f"the report's cells are the best of more than 20. "
        if searches
        else ""
    )
    apart = [a - b for a, b in zip(errors, chance, strict=True)]
    told = (
        f"The first row minus the second: {methods.interval(apart, 100)} points "
        f"(95 %), "
        f"{methods.verdict(apart)}; that is said of this cell, not of searches."
        if len(apart) > 1
        else "One seed: of the difference nothing can be said."
    )
    light = forks.left_out([*size.search, *options.settings]) if searches else ""
    images = IMAGES[size.preset][0]
    images = f"{size.images:,} images of {images}" if size.images else images
    runs = {
        job.folder.name: pieces.summary_of(job) for job in (*searches, *found, *drawn)
    }
    made = {
        "title": "Table 2 of the report",
        "rows": rows,
        "claim": "How good is a found cell, beside the report's and beside cells drawn "
        "at random?",
        "columns": [
            "cell",
            "of each seed (%)",
            "test error (%)",
            methods.column("weights (M)", 3),
            methods.column("a search (device days)", 4),
        ],
        "seconds": sum(summary["seconds"] for summary in runs.values()),
        "note": f"{chosen}Ours on {images}; {whole['epochs']} epochs, test error of "
        f"the last.{light} {told}",
    }
    given = {
        "preset": options.preset,
        "genotype": options.genotype,
        "searches": options.searches,
    }
    words = [f"--{name} {value}" for name, value in given.items() if value]
    words += [f"--train {setting}" for setting in options.train]
    name = "table2_cifar100" if size.preset == "cifar100" else "table2"
    forks.write(options, name, made, runs, *words)


def _row(name, errors, weights, days=None) -> list:
    values = ", ".join(f"{100 * error:.2f}" for error in errors)
    mean = sum(weights) / len(weights) / 1e6
    return [name, values, methods.cell(errors, 100), mean, days]


if __name__ == "__main__":
    main()
