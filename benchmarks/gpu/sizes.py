"""Sets how large the measured programs are: those of the report, or tiny ones."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

from benchmarks import epoch, parity, rows, small_space
from egnas_jax.retrain.config import RetrainConfig

CHECKED = "population-running", "population-batch", "weight-step"  # beside torch
PROGRAMS = *CHECKED, "retraining-step"
# One cell in each of its lowerings; gradients of `fused` are those of `shifted`, which
# is what `auto` chooses today.
CELLS = tuple(
    f"{cell}-in-{lowering}"
    for cell in ("cell-running", "cell-batch", "cell-step")
    for lowering in ("auto", "grouped", "dense", "fused")
    if (cell, lowering) != ("cell-step", "fused")
)


class Size(NamedTuple):
    """How large the programs of a campaign are.

    Attributes:
      name: of the size.
      checked: key of `parity.CASES` whose golden numbers are exact.
      case: key of `parity.CASES` that is timed.
      plan: epoch of a search, and searches together.
      recipe: retraining.
      cells: programs of one cell in each lowering, as `programs.build` names them.
      repeated: programs that are measured again in float32 and under other flags.
      together: numbers of searches in one program.
      searches: preset of whole searches, and its settings.
      resumed: the same for short searches that are resumed and replayed.
      table2: options of experiments/table2.py.
    """

    name: str
    checked: str
    case: str
    plan: epoch.Plan
    recipe: RetrainConfig
    cells: tuple[str, ...]
    repeated: tuple[str, ...]
    together: tuple[int, ...]
    searches: tuple[str, dict]
    resumed: tuple[str, dict]
    table2: tuple[str, ...]


def full_size() -> Size:
    """The sizes of the default search and retraining on CIFAR-10."""
    return Size(
        name="full",
        checked="trial",
        case="full",
        plan=epoch.FULL,
        recipe=rows.recipe(parity.CASES["full"], trial=False),
        cells=CELLS,
        repeated=PROGRAMS,
        together=(1, 4, 8, 16),
        searches=("cifar10", {"supernet.dtype": "bfloat16"}),
        resumed=("digits", {"supernet.dtype": "bfloat16"}),
        table2=("--size", "full", "--train", "precision=bfloat16"),
    )


def tiny_size() -> Size:
    """Networks of one cell with one node, to try the campaign on a CPU."""
    case = parity.case_named("tiny")
    recipe = rows.recipe(case, trial=True)
    network = dataclasses.replace(recipe.network, layers=1)
    settings = {
        "supernet.space": small_space.register(),
        "supernet.channels": 4,
        "supernet.layers": 2,
        "batch_size": 256,
        "epochs": 2,
        "strategy.warmup": 0,
        "strategy.population": 4,
        "strategy.samples": 1,
        "strategy.generations": 1,
        "strategy.fitness_batch_size": 64,
        # a step of its own for the short last batch would compile, too
        "schedule.last_batch": "drop",
        "schedule.alpha_in_clip": False,
    }
    return Size(
        name="tiny",
        checked="tiny",
        case="tiny",
        plan=epoch.tiny_plan(),
        recipe=dataclasses.replace(recipe, network=network),
        cells=CELLS[:2],
        repeated=PROGRAMS[:1],
        together=(1, 3),
        searches=("digits", settings),
        resumed=("digits", settings),
        table2=("--size", "tiny", "--seeds", "1", "--train", "network.layers=1"),
    )


SIZES: dict[str, Callable[[], Size]] = {"full": full_size, "tiny": tiny_size}
