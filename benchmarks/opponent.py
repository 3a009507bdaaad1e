"""Times the torch loop on the same GPU under the best of torch's settings.

The settings are AMP in bfloat16, channels_last, cudnn.benchmark and inference_mode. The
weights are torch's own initial ones, since speed does not depend on them; golden files
check that both sides compute the same.
"""

import dataclasses
import os
import statistics
from collections.abc import Iterator
from typing import TYPE_CHECKING

from benchmarks import problem
from benchmarks.parity import Case
from egnas_jax.retrain.config import RetrainConfig

if TYPE_CHECKING:
    from benchmarks.torch_side import TorchSide

# All are tried; each row is compared with the fastest.
SETTINGS = {
    "gpu": [
        dict(amp=True, channels_last=True),
        dict(amp=True, channels_last=False),
        dict(amp=False, channels_last=True),
    ],
    "cpu": [dict(amp=False, channels_last=False)],
}
STEPS = 4  # weight steps of a call
REPEATS = 5  # calls, of which the median counts, as in `gpu.row_task`


def name_of(setting: dict[str, bool]) -> str:
    """A setting in words."""
    dtype = "AMP in bfloat16" if setting["amp"] else "float32"
    return dtype + (", channels_last" if setting["channels_last"] else "")


def precision_of(setting: dict[str, bool]) -> str:
    """The precision of our rows that torch computes in under a setting.

    Without AMP torch's products of float32 run in TF32 (`torch_side.set_up`), as jax's
    default ones do. Nothing of torch's is compared with "float32", jax's "highest".
    """
    return "bfloat16" if setting["amp"] else "default"


def make_side(case: Case, device: str, setting: dict[str, bool]) -> "TorchSide":
    """Makes the torch side of a case.

    Args:
      case: size of the problem.
      device: "cuda" or "cpu".
      setting: one of `SETTINGS`.

    Raises:
      RuntimeError: torch sees no GPU.
    """
    from benchmarks.torch_side import TorchSide

    drawn = problem.draw(case.config, case.individuals)
    drawn = drawn._replace(
        images=drawn.images[: case.batch, : case.side, : case.side],
        labels=drawn.labels[: case.batch],
    )
    return TorchSide(drawn, threads=os.cpu_count() or 1, device=device, **setting)


def rates(
    side: "TorchSide", case: Case, recipe: RetrainConfig
) -> Iterator[tuple[str, float]]:
    """Measures one program after another.

    Args:
      side: made by `make_side` for the case.
      case: size of the problem.
      recipe: configuration of the retraining.

    Yields:
      Name of a program of `gpu.programs`, and images per second.
    """
    parts = parts_of(range(case.individuals), REPEATS)
    for batch_stats in ("running", "batch"):
        arguments = dict(batch_stats=batch_stats, chunk=case.images, images=case.images)
        side.population(individuals=parts[0][:2], **arguments)  # warm-up
        seconds = statistics.median(
            side.population(individuals=part, **arguments)["seconds"] / len(part)
            for part in parts
        )
        yield f"population-{batch_stats}", case.images / seconds
    side.weight_step(steps=1)
    seconds = [side.weight_step(steps=STEPS)["seconds"] for _ in range(REPEATS)]
    yield "weight-step", case.batch / statistics.median(seconds)
    measured = side.retrain_step(
        genotype=recipe.genotype,
        batch=recipe.batch_size,
        steps=STEPS,
        repeats=REPEATS,
        network=dataclasses.asdict(recipe.network),
    )
    seconds = statistics.median(measured["seconds_all"])
    yield "retraining-step", recipe.batch_size / seconds


def parts_of(individuals: range, count: int) -> list[list[int]]:
    """Cuts a population into `count` parts or fewer, of almost equal size.

    Torch evaluates one individual after another, so a part takes its share of the time
    of all; `count` calls of parts together take no longer than one of the population.
    """
    parts = (list(individuals[start::count]) for start in range(count))
    return [part for part in parts if part]
