"""The torch loop on the same card: the best of the settings that torch offers.

AMP in bfloat16, channels_last, cudnn.benchmark, inference_mode. Its weights are torch's
own: speed does not depend on them, and that both sides compute the same is what the
golden files are for.
"""

import dataclasses
import importlib.util
import os
import pathlib
import tempfile

from benchmarks import problem as given
from benchmarks.parity import Case
from benchmarks.timing import say
from benchmarks.worker import Worker
from egnas_jax.retrain.config import RetrainConfig

# tried in turn; the fastest is the opponent of its row
SETTINGS = {
    "gpu": [
        dict(amp=True, channels_last=True),
        dict(amp=True, channels_last=False),
        dict(amp=False, channels_last=True),
    ],
    "cpu": [dict(amp=False, channels_last=True)],
}
STEPS = 4


def measure(case: Case, recipe: RetrainConfig, platform: str) -> dict:
    """Speed of torch on our rows, under the setting that is fastest for each.

    Args:
      case: size of the problem.
      recipe: of retraining.
      platform: "gpu" or "cpu".

    Returns:
      Name of a row, as `benchmarks.rows` has it -> {"images_per_s", "setting"}; or
      {"absent": why}.
    """
    if importlib.util.find_spec("torch") is None:
        return _absent("torch is not installed: no ratio")
    drawn = given.draw(case.config, case.individuals)
    drawn = drawn._replace(
        images=drawn.images[: case.batch, : case.side, : case.side],
        labels=drawn.labels[: case.batch],
    )
    results = {}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        given.save(drawn, folder)
        for setting in SETTINGS[platform]:
            try:
                found = _times(folder, case, recipe, platform, setting)
            except RuntimeError as error:
                return _absent(f"torch failed under {setting} ({error}): no ratio")
            for row, rate in found.items():
                say(f"torch, {row}, {setting}: {rate:.0f} images/s")
                if row not in results or rate > results[row]["images_per_s"]:
                    results[row] = {"images_per_s": rate, "setting": setting}
    return results


def _absent(why: str) -> dict:
    say(why)
    return {"absent": why}


def _times(folder, case, recipe, platform, setting) -> dict[str, float]:
    """Images a second of every row."""
    device = "cuda" if platform == "gpu" else "cpu"
    worker = Worker(
        "torch", folder, {}, threads=os.cpu_count() or 1, device=device, **setting
    )
    members, found = list(range(case.individuals)), {}
    for batch_stats in ("running", "batch"):
        asked = dict(
            individuals=members,
            batch_stats=batch_stats,
            chunk=case.images,
            images=case.images,
        )
        worker("population", **asked | {"individuals": members[:2]})  # warms up
        seconds = min(worker("population", **asked)["seconds"] for _ in range(2))
        passes = case.individuals * case.images
        found[f"population, {batch_stats} statistics"] = passes / seconds
    worker("weight_step", steps=1)
    seconds = worker("weight_step", steps=STEPS)["seconds"]
    found[f"weight step, {case.batch} images"] = case.batch / seconds
    seconds = worker(
        "retrain_step",
        genotype=recipe.genotype,
        batch=recipe.batch_size,
        steps=STEPS,
        network=dataclasses.asdict(recipe.network),
    )["seconds"]
    found[f"retraining step, {recipe.batch_size} images"] = recipe.batch_size / seconds
    worker.close()
    return found
