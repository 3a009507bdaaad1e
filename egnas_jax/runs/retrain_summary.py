"""Summarises the records of a retraining."""

from typing import Any

from egnas_jax.nn.cost import MULTIPLY_ADDS_CONVENTION
from egnas_jax.nn.network_cost import count_params, multiply_adds
from egnas_jax.retrain.loop import RetrainRun
from egnas_jax.runs.retrain_result import Metadata


def summarise(
    history: list[dict], run: RetrainRun, metadata: Metadata
) -> dict[str, Any]:
    """The content of summary.json.

    The test error of the last epoch is the result. The least one is chosen by the test
    set, and so is too good; it stands beside the result under its own name.

    Args:
      history: records of all epochs so far.
      run, metadata: of the retraining.
    """
    evaluated = [record for record in history if record["test_error"] is not None]
    best = min(evaluated, key=lambda record: record["test_error"])
    height, width, channels = metadata.image_shape
    network = run.net.genotype, run.net.config
    return {
        "genotype": run.net.genotype.format(),
        "test_error_last": evaluated[-1]["test_error"],
        "test_error_best": best["test_error"],
        "best_epoch": best["epoch"],
        "test_error_chosen_by_validation": _chosen_by_validation(evaluated),
        "seeds": [run.config.seed],
        "epochs": len(history),
        "params": count_params(*network, image_channels=channels),
        "multiply_adds": (
            multiply_adds(*network, height, image_channels=channels)
            if height == width
            else None
        ),
        "multiply_adds_convention": MULTIPLY_ADDS_CONVENTION,
        "seconds": sum(record["seconds"] for record in history),
        "search_seconds": metadata.search_seconds,
        "test_images": len(run.test.labels),
        "digest": evaluated[-1]["digest"],
    }


def _chosen_by_validation(evaluated: list[dict]) -> float | None:
    """Test error of the epoch with the best validation accuracy; None without one."""
    validated = [record for record in evaluated if record["valid_accuracy"] is not None]
    if not validated:
        return None
    return max(validated, key=lambda record: record["valid_accuracy"])["test_error"]
