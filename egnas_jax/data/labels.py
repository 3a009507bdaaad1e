"""Checks the labels that a caller passes beside images.

Inside `jax.jit` only shapes are known, so the values of concrete labels alone are
checked. A label that is no class has no defined loss: indexing would read the last
class for -1, and NaN or the wrong one for labels that are too large.

Dims: N images, K classes.
"""

from typing import Any

import jax
import numpy as np

from egnas_jax.types import Batch

SHOWN = 3  # wrong labels that a message names


def checked_labels(labels: Any, num_images: int, num_classes: int) -> Any:
    """The labels as [N]; a column [N, 1] is flattened.

    Args:
      labels: whole numbers from 0 to K - 1, [N] or [N, 1]: an array of numpy or JAX, or
        what numpy can convert, such as a list or a tensor of torch. Tracers are
        returned as they are.
      num_images: N.
      num_classes: K.

    Raises:
      ValueError: there are no images or another number of labels; concrete labels have
        another shape, are no whole numbers, or are no classes.
    """
    if not isinstance(labels, jax.Array | np.ndarray):
        labels = _as_numpy(labels)
    num_labels = labels.shape[0] if labels.shape else 1
    if num_images != num_labels or not num_images:
        raise ValueError(
            f"{num_images} images were given and {num_labels} labels; there must be "
            f"as many labels as images, and at least one."
        )
    if isinstance(labels, jax.core.Tracer):
        return labels
    if labels.ndim != 1:
        labels = _flattened(labels)
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"labels are of type {labels.dtype}, but must be whole numbers from 0 to "
            f"{num_classes - 1}. If they are whole, pass labels.astype('int32')."
        )
    if not (isinstance(labels, jax.Array) and not labels.is_fully_addressable):
        _check_range(jax.device_get(labels), num_classes)
    return labels


def checked_batch(batch: Batch, num_classes: int) -> Batch:
    """A batch whose labels were checked, see `checked_labels`.

    Raises:
      ValueError: the labels do not fit the images or the classes.
    """
    labels = checked_labels(batch.labels, len(batch.images), num_classes)
    return batch.replace(labels=labels)


def _as_numpy(labels) -> np.ndarray:
    """Labels of another library, or a list, as an array of numpy."""
    try:
        return np.asarray(labels)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"labels of type {type(labels).__name__} are no array of whole numbers: "
            f"{error}. Give one number per image; of a tensor on a GPU, pass "
            f"labels.cpu().numpy()."
        ) from None


def _flattened(labels):
    if labels.ndim == 2 and labels.shape[1] == 1:
        return labels.reshape(-1)
    hint = ""
    if labels.ndim == 2:
        hint = " Of one-hot rows, pass labels.argmax(axis=1)."
    raise ValueError(
        f"labels have shape {labels.shape}, but must be [N], one class number per "
        f"image.{hint}"
    )


def _check_range(labels: np.ndarray, num_classes: int) -> None:
    wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if not len(wrong):
        return
    shown = ", ".join(f"{labels[i]} (image {i})" for i in wrong[:SHOWN])
    more = ", ..." if len(wrong) > SHOWN else ""
    raise ValueError(
        f"{len(wrong)} of {len(labels)} labels are no class of a network with "
        f"{num_classes} classes: {shown}{more}. Labels are whole numbers from 0 to "
        f"{num_classes - 1}. Renumber them, or build the network with more classes."
    )
