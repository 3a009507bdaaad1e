"""Notes test images that a network was trained on.

Dims: N images, H, W height and width in pixels, C channels.
"""

import hashlib
import logging
import ntpath

import numpy as np

from egnas_jax.data.config import DataConfig
from egnas_jax.data.dataset import Dataset
from egnas_jax.data.source import load_dataset
from egnas_jax.runs.data import digest_of

KEPT_HERE = ("digits",)  # data sets that are loaded at once and without a download


def note_seen(path: str, dataset: Dataset, trained: DataConfig, seed: int) -> None:
    """Warns if images that are to be evaluated were seen in the training.

    The images of the training are compared where they are still at hand. Otherwise the
    file is suspected if it is at their place, or has their file's name. The logger
    "egnas_jax" gets the warning.

    Args:
      path: of the file.
      dataset: its images; those of the test set are looked at.
      trained: the data of the training. None of the file's images are suspected where
        its pool has the digest of these.
      seed: the seed by which the training split its data.
    """
    if trained.digest in (None, digest_of(dataset)):
        return
    warn, count = logging.getLogger("egnas_jax").warning, len(dataset.test_labels)
    pool = _pool(trained, seed)
    if pool is not None:
        if seen := num_seen(dataset.test_images, pool):
            warn(
                f"{path}: the network was trained on {seen} of the {count} images that "
                f"are evaluated, so this test error is too low. Leave them out."
            )
    elif trained.path and ntpath.basename(trained.path) == ntpath.basename(path):
        warn(
            f"{path} has the name of the file that the network was trained on, but its "
            f"images, their order or their labels have changed. All {count} are "
            f"evaluated. If the network was trained on some, this test error is too "
            f"low: leave them out, or give the file as it was."
        )


def num_seen(images: np.ndarray, pool: np.ndarray) -> int:
    """How many images are equal to one of a pool.

    Args:
      images, pool: u8[N, H, W, C], of any two N.
    """
    known = set(map(_digest, pool))
    return sum(_digest(image) in known for image in images)


def _digest(image: np.ndarray) -> bytes:
    return hashlib.blake2b(image.tobytes(), digest_size=16).digest()


def _pool(trained: DataConfig, seed: int) -> np.ndarray | None:
    """The images of a training, or None where they are gone or would take long."""
    if trained.path is None and trained.name not in KEPT_HERE:
        return None
    try:
        dataset = load_dataset(trained, seed=seed)
    except ValueError:
        return None
    return dataset.images if digest_of(dataset) == trained.digest else None
