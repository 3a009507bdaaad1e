"""Loads the data of a run, and records them by digest and absolute path."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from egnas_jax.data.config import DataConfig, check_augmentation
from egnas_jax.data.dataset import Dataset, LabelledImages
from egnas_jax.data.files.array_keys import known_keys
from egnas_jax.data.files.arrays import from_arrays, load_for_evaluation
from egnas_jax.data.location import located
from egnas_jax.data.source import load_dataset
from egnas_jax.settings import apply_settings, paths
from egnas_jax.storage import checkpoint

KEYS = ("images", "labels", "test_images", "test_labels")
KERAS_KEYS = ("x_train", "y_train", "x_test", "y_test")
DATA_FORM = (
    "Give (images, labels), (images, labels, test_images, test_labels), "
    "((x_train, y_train), (x_test, y_test)) or a dictionary with the keys of an .npz."
)

ArrayData = Sequence[Any] | Mapping[str, Any]


def dataset_from_arrays(data: ArrayData, config: DataConfig, seed: int = 0) -> Dataset:
    """The data set that an .npz of the same arrays would be.

    Args:
      data: (images u8[N, H, W, C], labels [N]), or the same followed by test images and
        test labels; two such pairs, as the data sets of Keras are; or a dictionary with
        the keys of an .npz.
      config: how the images are augmented. Its `name` is not read.
      seed: chooses the test images where there are none.

    Raises:
      ValueError: not arrays, or another number of them; one of another type, shape or
        length; images too small for the augmentation of `config`; or `config.path` is
        set as well.
    """
    if config.path is not None:
        raise ValueError(
            f"Arrays were given, and data.path is {config.path!r}. Leave one of the "
            f"two out."
        )
    given = _by_key(data)
    known = known_keys(given)
    arrays = {key: _array(key, given[key]) for key in known if given[key] is not None}
    unknown = dict.fromkeys(set(given) - set(known))
    dataset = from_arrays(
        arrays | unknown,
        seed,
        name="arrays",
        source="data",
        classes=config.classes,
        layout=config.layout,
    )
    check_augmentation(config, *dataset.images.shape[1:])
    return dataset


def _by_key(data: ArrayData) -> dict[str, Any]:
    """The arrays that were given, by the keys of an .npz; unknown keys are not read."""
    if isinstance(data, Mapping):
        names = {str(key): key for key in data}
        known = {name: data[names[name]] for name in known_keys(names)}
        return dict.fromkeys(names) | known
    if not isinstance(data, Sequence) or isinstance(data, str | bytes):
        raise ValueError(f"data is of type {type(data).__name__}. {DATA_FORM}")
    if len(data) == 2 and all(map(_is_pair, data)):
        flat = [array for pair in data for array in pair]
        return dict(zip(KERAS_KEYS, flat, strict=True))
    if len(data) not in (2, 4):
        raise ValueError(f"data holds {len(data)} entries. {DATA_FORM}")
    return dict(zip(KEYS, data, strict=False))


def _is_pair(value: Any) -> bool:
    """Whether a value is (images, labels), and not an array or a list of images."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        return False
    images, labels = (getattr(part, "ndim", 0) for part in value)
    return images >= 3 and 1 <= labels <= 2


def _array(key: str, value: Any) -> np.ndarray:
    try:
        return np.asarray(value)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"data: `{key}` is of type {type(value).__name__} and cannot be made one "
            f"array ({error}). Images must have the same size: "
            f"numpy.stack(list_of_images). {DATA_FORM}"
        ) from None


def load_run_data(
    config: DataConfig, data_dir: str | pathlib.Path | None, seed: int
) -> Dataset:
    """Loads the data of a run again, and checks that they are the same.

    Args:
      config: the data configuration with the digest that the run recorded.
      data_dir: the only place to look for the data; None: the usual places.
      seed: the seed by which the run split its data.

    Raises:
      ValueError: the data are not found, or they differ.
    """
    dataset = load_dataset(config, data_dir, seed)
    data_as_loaded(config, dataset.name, digest_of(dataset), data_dir)
    return dataset


def with_moved_data(config: Any, settings: Mapping[str, Any]) -> Any:
    """The configuration of a stored run whose data lie elsewhere now.

    The digest remains, so that no other data are accepted.

    Args:
      config: of a search or a retraining.
      settings: {"data.path": FILE} or {}.

    Raises:
      ValueError: another setting, which a finished run cannot change.
    """
    known = paths(config)
    for path in settings:
        if path in known and path != "data.path":
            raise ValueError(
                f"{path} belongs to the run and cannot be changed. --set takes "
                f"data.path=FILE.npz here: where its data lie now."
            )
    return apply_settings(config, settings)


def check_one_source(
    data: ArrayData | None, data_dir: str | pathlib.Path | None
) -> None:
    """Refuses arrays together with a place to look for files.

    Raises:
      ValueError: both are given.
    """
    if data is not None and data_dir is not None:
        raise ValueError("data and data_dir were given. Leave one of the two out.")


def digest_of(dataset: Dataset) -> str:
    """Sha256 over the images and labels of a data set, without those of the test."""
    return checkpoint.digest({"images": dataset.images, "labels": dataset.labels})


def load_evaluation_data(
    config: DataConfig, num_classes: int, seed: int, trained_digest: str | None
) -> Dataset:
    """The .npz of a configuration with its images as the test set.

    Args:
      config: its `path` is the .npz; its `layout` is respected.
      num_classes: of the network.
      seed: the seed by which the training of the network split its data.
      trained_digest: of the data that the network was trained on.

    Raises:
      ValueError: the images cannot test this network, see `load_for_evaluation`.
    """

    def is_trained_pool(pool: LabelledImages) -> bool:
        return checkpoint.digest(pool._asdict()) == trained_digest

    return load_for_evaluation(
        config.path, num_classes, seed, is_trained_pool, layout=config.layout
    )


def data_as_loaded(
    data: DataConfig,
    name: str,
    digest: str,
    data_dir: str | pathlib.Path | None = None,
) -> DataConfig:
    """A data configuration with the digest of the loaded data and an absolute path.

    Args:
      data: the configuration that the data were loaded by.
      name, digest: those of the loaded data.
      data_dir: where they were looked for; None: the usual places.

    Raises:
      ValueError: the configuration names another digest.
    """
    if data.digest not in (None, digest):
        raise ValueError(
            f"The data {name} are not those that data.digest names: "
            f"{digest} was found, {data.digest} is wanted. Give the right data by "
            f"--data-dir or --set data.path=FILE.npz, pass the arrays by data=, or "
            f"leave data.digest unset in a new run."
        )
    return dataclasses.replace(located(data, data_dir), digest=digest)
