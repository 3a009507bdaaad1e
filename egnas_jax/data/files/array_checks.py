"""Checks that arrays of a user's own are images and labels.

Dims: N images, H, W height and width in pixels, C channels.
"""

import logging
import math
import pathlib

import numpy as np

from egnas_jax.data.dataset import LabelledImages
from egnas_jax.data.files.array_keys import Pair

FEW_CHANNELS = 4  # grey, red-green-blue, and either with an alpha channel
LISTED = 10  # classes without an image that a message names


def checked(
    source: str | pathlib.Path, pair: Pair, layout: str | None = None
) -> LabelledImages:
    """The images u8[N, H, W, C] and labels i32[N] of a pair.

    Labels may also be [N, 1].

    Args:
      source: where the arrays come from, for messages.
      pair: the arrays and their names.
      layout: "NHWC" where that is stated: the order of the axes is not guessed then.

    Raises:
      ValueError: an array has another type or shape, the axes of the images are in
        another order, the lengths differ, or a label is negative or too large.
    """
    images, labels = pair.images, pair.labels
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    _check_images(source, pair.images_key, images)
    _check_labels(source, pair.labels_key, labels)
    if layout is None:
        _check_order(source, pair.images_key, images.shape, len(labels))
    if len(images) != len(labels):
        raise ValueError(
            f"{source}: {len(labels)} {pair.labels_key} for {len(images)} "
            f"{pair.images_key}; there must be one label per image."
        )
    return LabelledImages(np.ascontiguousarray(images), labels.astype(np.int32))


def join(parts: list[LabelledImages], source: str | pathlib.Path) -> LabelledImages:
    """Checked images of several arrays as one array.

    Raises:
      ValueError: the images differ in size.
    """
    if len(parts) == 1:
        return parts[0]
    sizes = sorted({size(part.images) for part in parts})
    if len(sizes) > 1:
        raise ValueError(
            f"{source}: training and validation images are {' and '.join(sizes)}; all "
            f"must have the same size [H, W, C]."
        )
    return LabelledImages(*map(np.concatenate, zip(*parts, strict=True)))


def size(images: np.ndarray) -> str:
    """The size of an image in words, as "32x32x3"."""
    return "x".join(str(side) for side in images.shape[1:])


def is_channels_first(shape: tuple[int, ...]) -> bool:
    """Whether axes are likely [N, C, H, W], and not [N, H, W, C].

    Images with few channels at the end, and square images, are taken as they are.
    Otherwise the last two axes are height and width where they are equal, or where both
    exceed the first of the three, as they exceed a number of channels.

    Args:
      shape: of four axes.
    """
    first, second, last = shape[1:]
    if last <= FEW_CHANNELS or first == second:
        return False
    return second == last or first < min(second, last)


def count_classes(
    source: str | pathlib.Path, labels: np.ndarray, classes: int | None
) -> int:
    """The stated number of classes, or the largest label + 1.

    In the second case, classes without an image are noted: the logger "egnas_jax" gets
    a warning.

    Args:
      source: where the labels come from, for messages.
      labels: checked labels, i32[N].
      classes: `data.classes`, or None.

    Raises:
      ValueError: there are fewer than 2 classes, a label is not less than `classes`, or
        there would be more classes than images.
    """
    distinct = np.unique(labels)
    if len(distinct) < 2:
        raise ValueError(
            f"{source}: all labels are {distinct[0]}; at least 2 classes are needed."
        )
    if classes is not None:
        check_below(source, labels, classes, f"data.classes={classes}")
        return classes
    if distinct[-1] >= len(labels):
        raise ValueError(
            f"{source}: label {distinct[-1]} would mean {int(distinct[-1]) + 1} "
            f"classes for {len(labels)} images; number the classes from 0 without "
            "gaps, e.g. numpy.unique(labels, return_inverse=True)[1], or state their "
            "number by data.classes=N."
        )
    num_classes = int(distinct[-1]) + 1
    if absent := absent_classes(labels, num_classes):
        logging.getLogger("egnas_jax").warning(
            f"{source}: labels are {distinct[0]} to {distinct[-1]}, which makes "
            f"{num_classes} classes, but {absent} no image. Number the classes from 0 "
            f"without gaps: labels = numpy.unique(labels, return_inverse=True)[1]. If "
            f"it is meant, data.classes={num_classes} states it."
        )
    return num_classes


def absent_classes(labels: np.ndarray, num_classes: int) -> str:
    """The classes without an image, as "classes 8, 9 have"; "" if there are none."""
    absent = np.setdiff1d(np.arange(num_classes), labels)
    names = ", ".join(map(str, absent[:LISTED]))
    more = f" and {len(absent) - LISTED} more" if len(absent) > LISTED else ""
    if len(absent) == 0:
        return ""
    return f"class {names} has" if len(absent) == 1 else f"classes {names}{more} have"


def check_below(
    source: str | pathlib.Path, labels: np.ndarray, num_classes: int, owner: str
) -> None:
    """Refuses labels that are not less than the number of classes.

    Args:
      source: where the labels come from, for messages.
      labels: i32[N].
      num_classes: of the data or of a network.
      owner: what has that number of classes, for messages.

    Raises:
      ValueError: a label is too large.
    """
    bad = np.flatnonzero(labels >= num_classes)
    if len(bad):
        raise ValueError(
            f"{source}: image {bad[0]} has the label {labels[bad[0]]}, but {owner} "
            f"allows labels from 0 to {num_classes - 1}. Labels count from 0."
        )


def _check_images(source, key, images):
    if images.ndim != 4:
        hint = _shape_hint(images.shape)
        raise ValueError(
            f"{source}: `{key}` has shape {images.shape}, but must be [N, H, W, C]."
            f"{hint}"
        )
    if images.dtype != np.uint8:
        hint = ""
        if np.issubdtype(images.dtype, np.integer):
            hint = " Pixels from 0 to 255: images.astype('uint8')."
        elif np.issubdtype(images.dtype, np.floating):
            hint = " Pixels in [0, 1]: (images * 255).round().astype('uint8')."
        raise ValueError(
            f"{source}: `{key}` is of type {images.dtype}, but must be uint8 with "
            f"values 0 to 255.{hint}"
        )
    if images.size == 0:
        raise ValueError(
            f"{source}: `{key}` has shape {images.shape}, but must hold at least one "
            "image, and no side may be 0."
        )


def _shape_hint(shape: tuple[int, ...]) -> str:
    """How images of other than four axes become [N, H, W, C]."""
    if len(shape) == 3:
        return " Add a channel: images[..., None]."
    if len(shape) == 2:
        side = math.isqrt(shape[1])
        square = f", e.g. images.reshape(-1, {side}, {side}, 1)"
        return (
            f" If a row is an image, give it its axes back: images.reshape(-1, height, "
            f"width, channels){square if side**2 == shape[1] else ''}."
        )
    return ""


def _check_order(source, key, shape, num_labels) -> None:
    """Refuses axes that look like another order than [N, H, W, C]; notes volumes."""
    if other := _other_order(shape, num_labels):
        found, remedy = other
        raise ValueError(
            f"{source}: `{key}` has shape {shape}, which {found}, but must be "
            f"[N, H, W, C]: {remedy}. If it is [N, H, W, C], state that by "
            f"data.layout=NHWC."
        )
    if shape[1] == shape[2] == shape[3] > FEW_CHANNELS:
        logging.getLogger("egnas_jax").warning(
            f"{source}: `{key}` has shape {shape}, which is read as images of "
            f"{shape[1]}x{shape[2]} pixels with {shape[3]} channels. If they are "
            f"meant, data.layout=NHWC states it; volumes are not supported."
        )


def _other_order(shape, num_labels) -> tuple[str, str] | None:
    """What the order of the axes seems to be, and how it becomes [N, H, W, C]."""
    if shape[0] != num_labels == shape[-1] > FEW_CHANNELS:
        by = f"by its {num_labels} labels"
        if shape[0] <= FEW_CHANNELS < min(shape[1:3]):
            return f"is [C, H, W, N] {by}", "np.transpose(images, (3, 1, 2, 0))"
        return f"is [H, W, C, N] {by}", "np.moveaxis(images, -1, 0)"
    if is_channels_first(shape):
        return "looks like [N, C, H, W]", "np.moveaxis(images, 1, -1)"
    return None


def _check_labels(source, key, labels):
    rule = "labels must be whole numbers from 0, one per image"
    if labels.ndim != 1:
        is_one_each = labels.size == max(labels.shape, default=0)
        one_hot = f"of one-hot rows, {key}.argmax(axis=1)"
        hint = f"{key}.reshape(-1)" if is_one_each else one_hot
        raise ValueError(
            f"{source}: `{key}` has shape {labels.shape}, but must be [N], a class "
            f"number for each image: {hint}."
        )
    if not np.issubdtype(labels.dtype, np.integer):
        example, remedy = (
            "",
            f"number them: numpy.unique({key}, return_inverse=True)[1]",
        )
        if labels.dtype.kind in "bf":
            bad = np.flatnonzero(labels != np.floor(labels.astype(np.float64)))
            example = f", e.g. {labels[bad[0]]} for image {bad[0]}" if len(bad) else ""
            remedy = f"if they are whole, save them as {key}.astype('int32')"
        raise ValueError(
            f"{source}: `{key}` is of type {labels.dtype}{example}; {rule}. To do so, "
            f"{remedy}."
        )
    bad = np.flatnonzero((labels < 0) | (labels > np.iinfo(np.int32).max))
    if len(bad):
        raise ValueError(
            f"{source}: `{key}` holds {labels[bad[0]]} for image {bad[0]}; {rule}."
        )
