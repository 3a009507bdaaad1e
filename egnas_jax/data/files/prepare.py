"""Converts official CIFAR files into a tensorflow-datasets directory.

The stock builders of tfds need tensorflow to prepare CIFAR; this module does not. It
writes their features under their name and version as parquet, the one file format that
both `tfds.load` and `tfds.data_source` read.
"""

import io
import pathlib
from collections.abc import Iterator, Mapping

import numpy as np

from egnas_jax.data.files.layouts import (
    CIFAR100_COARSE_NAMES,
    CLASS_NAMES,
    LAYOUTS,
    Layout,
    find_official,
)
from egnas_jax.data.files.official import read_all_labels
from egnas_jax.data.files.tfds_folder import (
    Description,
    SplitExamples,
    import_tfds,
    new_version_folder,
    write_version_folder,
)
from egnas_jax.lookup import lookup

VERSION = "3.0.2"  # of the stock builders, which `tfds.load("cifar10")` asks for
HOMEPAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"
# Features of the stock builders, by label key of the official files.
_FEATURE_NAMES = {
    "labels": "label",
    "fine_labels": "label",
    "coarse_labels": "coarse_label",
}


def prepare(
    name: str,
    data_dir: str | pathlib.Path,
    out_dir: str | pathlib.Path,
    layouts: Mapping[str, tuple[Layout, ...]] = LAYOUTS,
) -> pathlib.Path:
    """Writes `OUT_DIR/NAME/3.0.2` from official files; a failure leaves nothing behind.

    Args:
      name: "cifar10" or "cifar100".
      data_dir: an official folder, or a directory with one or with the tar.gz.
      out_dir: the tfds data directory to write to; created if it does not exist.
      layouts: layouts of the official files.

    Returns:
      The folder that was written.

    Raises:
      ValueError: the name is unknown, there are no official files or they are damaged,
        the target exists or cannot be written, or tfds or Pillow is not installed.
    """
    lookup(layouts, name, "data set to prepare")
    target = new_version_folder(out_dir, name, VERSION)
    data_dir = pathlib.Path(data_dir).expanduser()
    train, test = _read(name, data_dir, layouts[name])
    splits = {
        split: SplitExamples([len(images)], _examples(split, images, labels))
        for split, (images, labels) in (("train", train), ("test", test))
    }
    text = f"{name} as its authors released it."
    description = Description(name, VERSION, text, HOMEPAGE)
    features = _features(import_tfds(), name)
    write_version_folder(target, description, features, splits, "parquet")
    return target


def _read(name, data_dir, layouts):
    source = find_official(data_dir.resolve(), layouts) if data_dir.is_dir() else None
    if source is None:
        names = [f"{layout.folder}/ or {layout.archive}" for layout in layouts]
        raise ValueError(
            f"{data_dir} holds no official {name} files: looked for "
            f"{', '.join(names)}. Download them from {HOMEPAGE}."
        )
    return read_all_labels(*source)


def _features(tfds, name):
    """The features of the stock builder, which has to read the folder."""
    features = {
        "id": tfds.features.Text(),
        "image": tfds.features.Image(shape=(32, 32, 3)),
        "label": tfds.features.ClassLabel(names=CLASS_NAMES[name]),
    }
    if name == "cifar100":
        coarse = tfds.features.ClassLabel(names=CIFAR100_COARSE_NAMES)
        features["coarse_label"] = coarse
    return tfds.features.FeaturesDict(features)


def _examples(split, images, labels) -> Iterator[dict]:
    """Examples in official order, which is also the order of their ids."""
    for i, image in enumerate(images):
        example = {"id": f"{split}_{i:05d}", "image": _png(image)}
        for key, values in labels.items():
            example[_FEATURE_NAMES[key]] = int(values[i])
        yield example


def _png(image: np.ndarray) -> io.BytesIO:
    """The encoded image. tfds would need tensorflow to encode an array."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    file.seek(0)
    return file
