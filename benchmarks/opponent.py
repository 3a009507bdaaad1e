"""Times the torch loop on the same GPU under the best of torch's settings.

The settings are AMP in bfloat16, channels_last, cudnn.benchmark and inference_mode. The
weights are torch's own initial ones, since speed does not depend on them; golden files
check that both sides compute the same.
"""

import dataclasses
import importlib.util
import os
import pathlib
import tempfile

from benchmarks import problem
from benchmarks.parity import Case
from benchmarks.timing import say
from benchmarks.worker import Worker
from egnas_jax.retrain.config import RetrainConfig

# All are tried; each row is compared with the fastest.
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
    """Speed of torch on our rows, each under the setting that is fastest for it.

    Args:
      case: size of the problem.
      recipe: configuration of the retraining.
      platform: "gpu" or "cpu".

    Returns:
      Name of a row of `benchmarks.rows` -> {"images_per_s", "setting"}; or
      {"absent": reason} where torch cannot run.
    """
    if importlib.util.find_spec("torch") is None:
        return _absent("torch is not installed: no ratio")
    drawn = problem.draw(case.config, case.individuals)
    drawn = drawn._replace(
        images=drawn.images[: case.batch, : case.side, : case.side],
        labels=drawn.labels[: case.batch],
    )
    results = {}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        problem.save(drawn, folder)
        for setting in SETTINGS[platform]:
            try:
                rates = _rates(folder, case, recipe, platform, setting)
            except RuntimeError as error:
                return _absent(f"torch failed under {setting} ({error}): no ratio")
            for row, rate in rates.items():
                say(f"torch, {row}, {setting}: {rate:.0f} images/s")
                if row not in results or rate > results[row]["images_per_s"]:
                    results[row] = {"images_per_s": rate, "setting": setting}
    return results


def _absent(why: str) -> dict:
    say(why)
    return {"absent": why}


def _rates(folder, case, recipe, platform, setting) -> dict[str, float]:
    """Images per second of every row."""
    device = "cuda" if platform == "gpu" else "cpu"
    worker = Worker(
        "torch", folder, {}, threads=os.cpu_count() or 1, device=device, **setting
    )
    individuals, rates = list(range(case.individuals)), {}
    for batch_stats in ("running", "batch"):
        arguments = dict(
            individuals=individuals,
            batch_stats=batch_stats,
            chunk=case.images,
            images=case.images,
        )
        worker("population", **arguments | {"individuals": individuals[:2]})  # warm-up
        seconds = min(worker("population", **arguments)["seconds"] for _ in range(2))
        passes = case.individuals * case.images
        rates[f"population, {batch_stats} statistics"] = passes / seconds
    worker("weight_step", steps=1)
    seconds = worker("weight_step", steps=STEPS)["seconds"]
    rates[f"weight step, {case.batch} images"] = case.batch / seconds
    seconds = worker(
        "retrain_step",
        genotype=recipe.genotype,
        batch=recipe.batch_size,
        steps=STEPS,
        network=dataclasses.asdict(recipe.network),
    )["seconds"]
    rates[f"retraining step, {recipe.batch_size} images"] = recipe.batch_size / seconds
    worker.close()
    return rates
