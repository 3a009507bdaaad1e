"""Times the torch loop on the same GPU under the best of torch's settings.

The settings are AMP in bfloat16, channels_last, cudnn.benchmark and inference_mode. The
weights are torch's own initial ones, since speed does not depend on them; golden files
check that both sides compute the same.
"""

import dataclasses
import os
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
STEPS = 4


def name_of(setting: dict[str, bool]) -> str:
    """A setting in words."""
    dtype = "AMP in bfloat16" if setting["amp"] else "float32"
    return dtype + (", channels_last" if setting["channels_last"] else "")


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
    individuals = list(range(case.individuals))
    for batch_stats in ("running", "batch"):
        arguments = dict(batch_stats=batch_stats, chunk=case.images, images=case.images)
        side.population(individuals=individuals[:2], **arguments)  # warm-up
        seconds = min(
            side.population(individuals=individuals, **arguments)["seconds"]
            for _ in range(2)
        )
        yield f"population-{batch_stats}", case.individuals * case.images / seconds
    side.weight_step(steps=1)
    yield "weight-step", case.batch / side.weight_step(steps=STEPS)["seconds"]
    measured = side.retrain_step(
        genotype=recipe.genotype,
        batch=recipe.batch_size,
        steps=STEPS,
        network=dataclasses.asdict(recipe.network),
    )
    yield "retraining-step", recipe.batch_size / measured["seconds"]
