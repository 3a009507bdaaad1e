"""A trained network judged on a test set, from a run directory to figures."""

import dataclasses
from typing import NamedTuple

import numpy as np

from egnas_jax.data.config import DataConfig
from egnas_jax.data.dataset import Dataset, LabelledImages
from egnas_jax.data.examples import StreamedDataset
from egnas_jax.retrain.config import RetrainConfig
from egnas_jax.retrain.datasets import test_part
from egnas_jax.retrain.predict import make_logits, predict
from egnas_jax.retrain.scores import BINS, calibration, confusion, score
from egnas_jax.runs.data import data_as_loaded
from egnas_jax.runs.finished_network import Trained
from egnas_jax.runs.retrain import open_data
from egnas_jax.settings import apply_overrides, paths
from egnas_jax.studies.statistics import mean_and_spread

SETTABLE = ("data.name", "data.path", "data.digest", "split_seed", "eval_batch_size")


def settings(config: RetrainConfig, overrides: list[str]) -> RetrainConfig:
    """The configuration of a run with other data to judge it on.

    Where data are named, the digest of the run's own is dropped. Images are taken as
    they are: nothing is cropped or cut out.

    Args:
      config: of the run.
      overrides: "path=value" each, as of `--set`.

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
    data = DataConfig(config.data.name, config.data.path, pad=0)
    named = any(entry.startswith("data.") for entry in overrides)
    data = dataclasses.replace(data, digest=None if named else config.data.digest)
    return apply_overrides(dataclasses.replace(config, data=data), overrides)


class HeldOut(NamedTuple):
    """What a network is judged on: images and labels of a data set of that name."""

    name: str
    class_names: tuple[str, ...] | None
    images: LabelledImages


def load_data(
    trained: Trained, config: RetrainConfig, data_dir: str | None
) -> tuple[RetrainConfig, HeldOut]:
    """The images to judge on, checked, and the configuration with their digest.

    Args:
      trained: the network.
      config: of `settings`.
      data_dir: where to look, or None for the usual places.

    Raises:
      ValueError: it is not the one that the digest names, or its images or classes are
        not those that the network was trained on.
    """
    source, digest = open_data(config, data_dir)
    _check_classes(trained, source)
    test = test_part(source, config)
    shape, wanted = tuple(test.images.shape[1:]), trained.model.image_shape
    if shape != wanted:
        given, taken = ("x".join(map(str, s)) for s in (shape, wanted))
        raise ValueError(
            f"The images of {source.name} are {given}, and {trained.folder} was "
            f"trained on {taken}. Resize them, or retrain on them (--init-from)."
        )
    data = data_as_loaded(config.data, source.name, digest)
    dataset = HeldOut(source.name, source.class_names, test)
    return dataclasses.replace(config, data=data), dataset


def _check_classes(trained: Trained, dataset: Dataset | StreamedDataset) -> None:
    """Refuses another number of classes, or other names where both have some."""
    wanted, known = trained.config.network.num_classes, trained.model.class_names
    names = dataset.class_names
    way_out = "Give the data that it was trained on, or retrain (--init-from)."
    if dataset.num_classes != wanted:
        raise ValueError(
            f"{dataset.name} has {dataset.num_classes} classes, and {trained.folder} "
            f"was trained on {wanted}. {way_out}"
        )
    if names and known and names != known:
        at = next(i for i in range(wanted) if names[i] != known[i])
        raise ValueError(
            f"Class {at} of {dataset.name} is {names[at]!r}, and in {trained.folder} "
            f"{known[at]!r}. {way_out}"
        )


def judge(trained: Trained, config: RetrainConfig, dataset: HeldOut) -> dict:
    """What the network is worth on the test images: evaluation.json.

    Pixels are normalised by the numbers that the network was trained with.

    Args:
      trained: the network.
      config, dataset: of `load_data`.

    Raises:
      FloatingPointError: a logit is not finite.
    """
    images, labels = dataset.images
    program = make_logits(trained.net, (trained.model.mean, trained.model.std))
    size = config.eval_batch_size
    logits = predict(program, trained.variables, images, size)
    broken = int((~np.isfinite(logits).all(axis=1)).sum())
    if broken:
        raise FloatingPointError(
            f"The logits of {broken} of {len(labels)} images are not finite: the "
            f"training of {trained.folder} diverged."
        )
    digest = config.data.digest
    same = digest == trained.config.data.digest
    recorded = trained.line["test_error"] if same and trained.line else None
    scores, bins = score(logits, labels), calibration(logits, labels)
    names = dataset.class_names or trained.model.class_names
    return {
        "run": str(trained.folder),
        "genotype": trained.config.genotype,
        "epoch": trained.line and trained.line["epoch"],
        "epochs": trained.config.epochs,
        "digest": trained.digest,
        "data": {"name": dataset.name, "digest": digest, "own": same},
        "n": scores.n,
        "errors": scores.errors,
        "test_error": scores.error,
        "recorded_test_error": recorded,
        "test_accuracy": 1 - scores.error,
        "test_accuracy_top5": scores.top5 / scores.n,
        "test_loss": scores.loss,
        "ece": bins.error,
        "calibration": {"bins": BINS, **bins._asdict()},
        "class_names": names,
        "confusion": confusion(logits, labels),
    }


def aggregate(results: list[dict]) -> dict:
    """Means over several seeds, their spread (of a sample), and the seeds' own figures.

    Args:
      results: of `judge`.
    """
    whole = {"n": results[0]["n"]}
    names = ("test_error", "test_accuracy", "test_accuracy_top5", "test_loss", "ece")
    for name in names:
        values = [result[name] for result in results]
        whole[name], whole[f"{name}_spread"] = mean_and_spread(values)
    return whole | {"rows": results}
