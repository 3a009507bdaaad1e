"""Evaluates a trained network on a test set: errors, calibration, confusion."""

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from egnas_jax.data.config import DataConfig
from egnas_jax.data.dataset import Dataset, LabelledImages
from egnas_jax.data.examples import StreamedDataset, open_arrays
from egnas_jax.data.location import located
from egnas_jax.retrain.config import RetrainConfig
from egnas_jax.retrain.datasets import make_test_split
from egnas_jax.retrain.predict import make_logits, predict
from egnas_jax.retrain.scores import BINS, calibration, confusion, score
from egnas_jax.runs.data import (
    data_as_loaded,
    digest_of,
    load_evaluation_data,
)
from egnas_jax.runs.retrain_data import open_data
from egnas_jax.runs.retrain_result import RetrainResult
from egnas_jax.runs.seen_images import note_seen
from egnas_jax.settings import apply_overrides, paths
from egnas_jax.studies.statistics import mean_and_spread
from egnas_jax.training.jax_settings import pinned

SETTABLE = ("data.name", "data.path", "data.digest", "data.layout", "split_seed")


def evaluation_config(config: RetrainConfig, overrides: list[str]) -> RetrainConfig:
    """The configuration of a finished run, with other data to evaluate it on.

    Where other data are named, the digest of the run's own data is dropped. Images are
    not augmented.

    Args:
      config: of the run.
      overrides: "path=value" each, as in `--set`.

    Raises:
      ValueError: a path that a finished network cannot change, or a bad value.
    """
    for entry in overrides:
        path = entry.partition("=")[0]
        if path in paths(config) and path not in SETTABLE:
            raise ValueError(
                f"{path} belongs to the training, which is over. --set takes "
                f"{', '.join(SETTABLE)} here."
            )
    others = ("data.name", "data.path", "data.digest")
    names_data = any(entry.startswith(others) for entry in overrides)
    data = DataConfig(
        name=config.data.name,
        path=config.data.path,
        pad=0,
        digest=None if names_data else config.data.digest,
        layout=config.data.layout,
    )
    changed = apply_overrides(dataclasses.replace(config, data=data), overrides)
    _check_split_seed(config, changed)
    return changed


def _check_split_seed(trained: RetrainConfig, changed: RetrainConfig) -> None:
    """Refuses a seed that would make test images of those of the training."""
    is_same = (changed.data.name, changed.data.path) == (trained.data.name, None)
    if changed.split_seed == trained.split_seed:
        return
    if is_same or changed.data.path is not None:
        raise ValueError(
            f"split_seed={changed.split_seed} was given, but the training held out its "
            f"test images by split_seed={trained.split_seed}: it was trained on those "
            f"of another seed. Of a file that it was not trained on, all images are "
            f"evaluated. Leave split_seed out."
        )


class EvaluationData(NamedTuple):
    """The test images and labels of a data set.

    Attributes:
      name: of the data set.
      digest: of its training images, by which a run recognises its own data.
      class_names: one name per class, or None.
      images: the test images and labels.
    """

    name: str
    digest: str
    class_names: tuple[str, ...] | None
    images: LabelledImages


def load_data(
    trained: RetrainResult, config: RetrainConfig, data_dir: str | None
) -> EvaluationData:
    """The checked test images for a network.

    Args:
      trained: the network.
      config: from `evaluation_config`.
      data_dir: the only place to look, or None for the usual ones.

    Raises:
      ValueError: the data are not those of the digest, or their image shape or classes
        are not those of the network.
    """
    source, digest = _open(trained, config, data_dir)
    _check_classes(trained, source)
    test = make_test_split(source, config)
    shape, trained_shape = tuple(test.images.shape[1:]), trained.metadata.image_shape
    if shape != trained_shape:
        sizes = ["x".join(map(str, sides)) for sides in (shape, trained_shape)]
        raise ValueError(
            f"The images of {source.name} are {sizes[0]}, and {trained.folder} was "
            f"trained on {sizes[1]}. Resize them, or retrain on them (--init-from)."
        )
    # checks the digest
    data_as_loaded(config.data, source.name, digest, data_dir)
    return EvaluationData(source.name, digest, source.class_names, test)


def _open(
    trained: RetrainResult, config: RetrainConfig, data_dir: str | None
) -> tuple[Dataset | StreamedDataset, str]:
    """The data set and its digest; of an .npz, all images are the test set."""
    if config.data.path is None:
        return open_data(config, data_dir=data_dir)
    data = located(config.data, data_dir)
    own, seed = trained.config.data, trained.config.split_seed
    num_classes = trained.config.network.num_classes
    dataset = load_evaluation_data(data, num_classes, seed, own.digest)
    note_seen(data.path, dataset, own, seed)
    source = open_arrays(dataset) if config.stream else dataset
    return source, digest_of(dataset)


def _check_classes(trained: RetrainResult, source: Dataset | StreamedDataset) -> None:
    """Refuses another number of classes, or other names where both have names."""
    num_classes = trained.config.network.num_classes
    names, trained_names = source.class_names, trained.metadata.class_names
    advice = "Give the data that it was trained on, or retrain (--init-from)."
    if source.num_classes != num_classes:
        raise ValueError(
            f"{source.name} has {source.num_classes} classes, and {trained.folder} "
            f"was trained on {num_classes}. {advice}"
        )
    if names and trained_names and names != trained_names:
        at = next(i for i in range(num_classes) if names[i] != trained_names[i])
        raise ValueError(
            f"Class {at} of {source.name} is {names[at]!r}, and in {trained.folder} "
            f"{trained_names[at]!r}. {advice}"
        )


@pinned()
def evaluate_network(trained: RetrainResult, data: EvaluationData) -> dict[str, Any]:
    """The content of evaluation.json.

    Pixels are normalised by the mean and standard deviation of the training.

    Args:
      trained: the network.
      data: from `load_data`.

    Raises:
      FloatingPointError: a logit is not finite.
    """
    images, labels = data.images
    program = make_logits(
        trained.network, trained.metadata.scale, trained.metadata.image_shape
    )
    logits = predict(program, trained.variables, images)
    num_broken = int((~np.isfinite(logits).all(axis=1)).sum())
    if num_broken:
        raise FloatingPointError(
            f"The logits of {num_broken} of {len(labels)} images are not finite: the "
            f"training of {trained.folder} diverged."
        )
    is_own = data.digest == trained.config.data.digest
    record = trained.record or {}
    scores, bins = score(logits, labels), calibration(logits, labels)
    return {
        "run": str(trained.folder),
        "genotype": trained.config.genotype,
        "epoch": record.get("epoch"),
        "epochs": trained.config.epochs,
        "digest": trained.digest,
        "data": {"name": data.name, "digest": data.digest, "own": is_own},
        "n": scores.n,
        "errors": scores.errors,
        "test_error": scores.error,
        "recorded_test_error": record.get("test_error") if is_own else None,
        "test_accuracy": 1 - scores.error,
        "test_accuracy_top5": scores.top5 / scores.n,
        "test_loss": scores.loss,
        "ece": bins.error,
        "calibration": {"bins": BINS, **bins._asdict()},
        "class_names": data.class_names or trained.metadata.class_names,
        "confusion": confusion(logits, labels),
    }


def aggregate(results: list[dict]) -> dict[str, Any]:
    """Means over several seeds, their standard deviation (of a sample), and the rows.

    Args:
      results: from `evaluate_network`.
    """
    summary: dict[str, Any] = {"n": results[0]["n"]}
    names = ("test_error", "test_accuracy", "test_accuracy_top5", "test_loss", "ece")
    for name in names:
        mean, spread = mean_and_spread([result[name] for result in results])
        summary |= {name: mean, f"{name}_spread": spread}
    return summary | {"rows": results}
