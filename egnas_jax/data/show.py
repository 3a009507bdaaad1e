"""Draws a contact sheet: sample images with one row per class."""

import os
import pathlib

import numpy as np

from egnas_jax.data.dataset import Dataset
from egnas_jax.settings import check_whole

ROWS_PER_COLUMN = 25
CELL_INCHES = 0.45
LABEL_INCHES = 1.4


def contact_sheet(
    dataset: Dataset, out: str | pathlib.Path, per_class: int = 8
) -> pathlib.Path:
    """Draws the first images of each class to a PNG file.

    Args:
      dataset: the images of its pool are drawn; of more than 3 channels the first 3, of
        2 channels the first.
      out: the file, written under a temporary name and renamed. Its folder is created.
      per_class: images per row.

    Returns:
      The path of the file.

    Raises:
      ValueError: `per_class` is less than 1, or `out` is not a .png or cannot be
        written.
    """
    check_whole("per_class", per_class, 1)
    out = pathlib.Path(out)
    if out.suffix != ".png":
        raise ValueError(f"--out is {str(out)!r}, but must end in .png.")
    figure = _figure(dataset, per_class)
    temporary = out.with_name(f".{out.name}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(temporary, format="png", dpi=120)
        os.replace(temporary, out)
    except OSError as error:
        raise ValueError(f"{out} cannot be written: {error}.") from error
    return out


def _figure(dataset, per_class):
    """A figure with one axis per column of classes, whose tick labels are the names."""
    from matplotlib.figure import Figure  # needs no window system and no global state

    classes = np.arange(dataset.num_classes)
    columns = np.array_split(classes, -(-len(classes) // ROWS_PER_COLUMN))
    num_rows = max(len(column) for column in columns)
    width = len(columns) * (LABEL_INCHES + per_class * CELL_INCHES)
    figure = Figure((width, num_rows * CELL_INCHES + 0.6), layout="constrained")
    axes = figure.subplots(1, len(columns), squeeze=False)[0]
    for axis, column in zip(axes, columns, strict=True):
        rows = [_row(dataset, label, per_class) for label in column]
        axis.imshow(np.concatenate(rows), cmap="gray", interpolation="nearest")
        height = rows[0].shape[0]
        axis.set_yticks((np.arange(len(column)) + 0.5) * height - 0.5)
        axis.set_yticklabels([_class_name(dataset, label) for label in column])
        axis.set_xticks([])
        axis.tick_params(left=False, labelsize=8)
        axis.spines[:].set_visible(False)
    figure.suptitle(
        f"{dataset.name}: {len(dataset.images):,} images "
        f"{'x'.join(map(str, dataset.images.shape[1:]))}",
        fontsize=9,
    )
    return figure


def _row(dataset, label, per_class):
    """Images of a class side by side on white, with a border of one pixel."""
    height, width, channels = dataset.images.shape[1:]
    num_drawn = 3 if channels >= 3 else 1
    row = np.full((height + 1, per_class * (width + 1), num_drawn), 255, np.uint8)
    indices = np.flatnonzero(dataset.labels == label)[:per_class]
    for place, index in enumerate(indices):
        left = place * (width + 1)
        row[:height, left : left + width] = dataset.images[index, ..., :num_drawn]
    return row


def _class_name(dataset, label):
    return dataset.class_names[label] if dataset.class_names else str(label)
