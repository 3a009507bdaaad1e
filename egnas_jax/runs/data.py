"""Which data a run used: their digest and absolute path."""

import dataclasses
import pathlib

from egnas_jax.data.config import DataConfig
from egnas_jax.data.dataset import Dataset
from egnas_jax.storage import checkpoint


def digest_of(dataset: Dataset) -> str:
    """Sha256 over images and labels that are not the test's."""
    return checkpoint.digest({"images": dataset.images, "labels": dataset.labels})


def data_as_loaded(data: DataConfig, name: str, digest: str) -> DataConfig:
    """With the data's digest and an absolute path.

    Args:
      data: what was asked for.
      name, digest: of what was found.

    Raises:
      ValueError: they are not the data that the configuration names by a digest.
    """
    if data.digest not in (None, digest):
        raise ValueError(
            f"The data {name} are not those that data.digest names: "
            f"{digest} was found, {data.digest} is wanted. Give the right data "
            f"by --data-dir, or leave data.digest unset in a new run."
        )
    data = dataclasses.replace(data, digest=digest)
    if data.path is not None:
        path = pathlib.Path(data.path).expanduser().resolve()
        data = dataclasses.replace(data, path=str(path))
    return data
