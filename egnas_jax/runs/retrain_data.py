"""Opens the data set of a retraining."""

import dataclasses
import os

from egnas_jax.data.config import check_stated_classes
from egnas_jax.data.dataset import Dataset
from egnas_jax.data.examples import StreamedDataset, open_arrays, open_imagenet
from egnas_jax.data.source import load_dataset
from egnas_jax.retrain.config import RetrainConfig
from egnas_jax.runs.data import (
    ArrayData,
    check_one_source,
    data_as_loaded,
    dataset_from_arrays,
    digest_of,
)


def load_data(
    config: RetrainConfig,
    data: ArrayData | None = None,
    data_dir: str | os.PathLike | None = None,
) -> tuple[Dataset | StreamedDataset, RetrainConfig]:
    """The data set, and the configuration with what the data determine.

    That is the number of classes, the digest, and the absolute path of an .npz.

    Args:
      config: of the retraining.
      data, data_dir: see `run_retraining`.

    Raises:
      ValueError: the data are not found, are damaged, or are not those of the digest.
    """
    source, digest = open_data(config, data, data_dir)
    return source, dataclasses.replace(
        config,
        data=data_as_loaded(config.data, source.name, digest, data_dir),
        network=dataclasses.replace(config.network, num_classes=source.num_classes),
    )


def open_data(
    config: RetrainConfig,
    data: ArrayData | None = None,
    data_dir: str | os.PathLike | None = None,
) -> tuple[Dataset | StreamedDataset, str]:
    """The data set, in memory or to be streamed, and its digest.

    Raises:
      ValueError: the data are not found or damaged.
    """
    check_one_source(data, data_dir)
    if data is not None:
        dataset = dataset_from_arrays(data, config.data, config.split_seed)
    elif config.data.name == "imagenet" and config.data.path is None:
        opened = open_imagenet(data_dir)
        check_stated_classes(config.data, opened.num_classes)
        return opened, opened.digest
    else:
        dataset = load_dataset(config.data, data_dir, config.split_seed)
    source = open_arrays(dataset) if config.stream else dataset
    return source, digest_of(dataset)
