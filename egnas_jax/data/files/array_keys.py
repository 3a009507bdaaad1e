"""Finds images and labels in archives of arrays, under our keys and those of others.

Dims: N images, H, W height and width in pixels, C channels.
"""

import logging
import pathlib
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

NPZ_FORM = (
    "An .npz holds `images` (uint8 [N, H, W, C]) and `labels` (whole numbers [N], from "
    "0), and may hold `test_images` and `test_labels`: "
    "numpy.savez(path, images=..., labels=...)."
)


class Pair(NamedTuple):
    """Images and their labels, which are not checked yet, and the names of both."""

    images_key: str
    labels_key: str
    images: np.ndarray
    labels: np.ndarray


class Pairs(NamedTuple):
    """The arrays of an archive by their purpose.

    Attributes:
      train: their images are joined to one pool; none where there are test images only.
      test: the pair of the test images, or None.
    """

    train: tuple[Pair, ...]
    test: Pair | None


class KeyForm(NamedTuple):
    """The keys of one convention, as (images, labels).

    Attributes:
      train, valid, test: keys of the splits. Validation images, of which the search and
        the retraining choose their own, join the training images.
      is_grey_flat: whether grey images come as [N, H, W].
    """

    train: tuple[str, str]
    valid: tuple[str, str] | None
    test: tuple[str, str]
    is_grey_flat: bool = True


OWN = KeyForm(
    ("images", "labels"), None, ("test_images", "test_labels"), is_grey_flat=False
)
UNNAMED = ("arr_0", "arr_1", "arr_2", "arr_3")  # numpy.savez(path, a, b)
FORMS = (
    OWN,
    KeyForm(("x_train", "y_train"), ("x_val", "y_val"), ("x_test", "y_test")),  # Keras
    KeyForm(("X_train", "y_train"), ("X_val", "y_val"), ("X_test", "y_test")),
    KeyForm(  # MedMNIST
        ("train_images", "train_labels"),
        ("val_images", "val_labels"),
        ("test_images", "test_labels"),
    ),
    KeyForm(UNNAMED[:2], None, UNNAMED[2:]),
)


def find_pairs(
    source: str | pathlib.Path, arrays: Mapping[str, np.ndarray | None]
) -> Pairs:
    """The images and labels of an archive.

    Arrays under other keys are noted: the logger "egnas_jax" gets a warning.

    Args:
      source: where the arrays come from, for messages.
      arrays: the arrays of the archive by key; None under keys that no convention
        uses, which the messages list.

    Raises:
      ValueError: no keys or several conventions of keys are known, a key lacks its
        partner, or arrays without names may be images or labels.
    """
    form = _choose_form(source, arrays)
    if form.train == UNNAMED[:2]:
        arrays = _in_order(source, arrays)
    _note_unread(source, arrays, form)
    test = _pair(source, arrays, form, form.test)
    if set(form.train) & set(arrays) or test is None:
        train = _pair(source, arrays, form, form.train, is_needed=True)
        valid = _pair(source, arrays, form, form.valid) if form.valid else None
        return Pairs(tuple(filter(None, (train, valid))), test)
    return Pairs((), test)


def _note_unread(source, arrays, form) -> None:
    """Names the keys that do not belong to the convention of the others."""
    unread = sorted(set(arrays) - {key for keys in form[:3] if keys for key in keys})
    if not unread:
        return
    places = [f"training images under {' and '.join(form.train)}"]
    if form.valid:
        places.append(f"validation images under {' and '.join(form.valid)}")
    places.append(f"test images under {' and '.join(form.test)}")
    logging.getLogger("egnas_jax").warning(
        f"{source}: not read: {', '.join(unread)}. Beside the other keys of this file, "
        f"{'; '.join(places)} are read."
    )


def _choose_form(source, arrays) -> KeyForm:
    """The convention of the keys; ours where one of our keys is there."""
    names = set(arrays)
    if names & set(OWN.train):
        return OWN
    fitting = [form for form in FORMS if set(form.train) <= names]
    if not fitting:  # ours comes first, and MedMNIST's test images have the same keys
        fitting = [form for form in FORMS if set(form.test) <= names][:1]
    if len(fitting) == 1:
        return fitting[0]
    present_keys = ", ".join(sorted(names)) or "no array"
    if fitting:
        keys = " and ".join(form.train[0] for form in fitting)
        raise ValueError(
            f"{source} holds training images under {keys}, so it is unknown which are "
            f"meant (found: {present_keys}). {NPZ_FORM}"
        )
    raise ValueError(
        f"{source} has no `images` and `labels` (found: {present_keys}). {NPZ_FORM} "
        f"The keys {', '.join(form.train[0] for form in FORMS[1:])} of other programs "
        f"are known too, each with its labels."
    )


def _pair(source, arrays, form, keys, *, is_needed=False) -> Pair | None:
    """The arrays of a split, or None where the archive has neither of them."""
    present = [key in arrays for key in keys]
    if not any(present) and not is_needed:
        return None
    if not all(present):
        present_keys = ", ".join(sorted(arrays))
        missing = keys[present.index(False)]
        raise ValueError(
            f"{source} has no `{missing}` (found: {present_keys}). {NPZ_FORM}"
        )
    images, labels = (arrays[key] for key in keys)
    if form.is_grey_flat and images.ndim == 3:
        images = images[..., None]
    return Pair(*keys, images, labels)


def _in_order(source, arrays) -> Mapping[str, np.ndarray | None]:
    """Arrays without names as (images, labels[, test images, test labels]).

    Images have three axes or more and labels fewer, so a single pair may stand in
    either order.
    """
    keys = [key for key in UNNAMED if key in arrays]
    are_images = [arrays[key].ndim >= 3 for key in keys]
    if "arr_4" not in arrays:
        if are_images == [False, True]:
            return {**arrays, "arr_0": arrays["arr_1"], "arr_1": arrays["arr_0"]}
        if are_images in ([True, False], [True, False, True, False]):
            return arrays
    shapes = ", ".join(f"{key} {arrays[key].shape}" for key in keys)
    raise ValueError(
        f"{source} holds {shapes}, so it is unknown which arrays are images and labels "
        f"of training and test. {NPZ_FORM}"
    )


def known_keys(names: Iterable[str]) -> tuple[str, ...]:
    """Those of the names that some convention uses."""
    known = {key for form in FORMS for keys in form[:3] if keys for key in keys}
    return tuple(name for name in names if name in known)
