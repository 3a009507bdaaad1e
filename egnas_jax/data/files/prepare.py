"""Turns official CIFAR files into a directory of tensorflow-datasets.

The stock builders need tensorflow to prepare CIFAR. This does not, and writes their
features under their name and version as parquet, the one format that both `tfds.load`
and `tfds.data_source` read.
"""

import io
import pathlib
from collections.abc import Iterator, Mapping

from egnas_jax.data.files.layouts import (
    CIFAR10,
    CIFAR100,
    CIFAR100_COARSE,
    LAYOUTS,
    Layout,
    find_official,
)
from egnas_jax.data.files.official import Images, read_official
from egnas_jax.data.files.tfds_folder import (
    Description,
    Written,
    import_tfds,
    target_of,
    write,
)
from egnas_jax.lookup import lookup

# The version of the stock builders; `tfds.load("cifar10")` asks for it.
VERSION = "3.0.2"
HOMEPAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"


def prepare(
    name: str,
    data_dir: str | pathlib.Path,
    out_dir: str | pathlib.Path,
    layouts: Mapping[str, tuple[Layout, ...]] = LAYOUTS,
) -> pathlib.Path:
    """Writes `OUT_DIR/NAME/3.0.2` from official files, or not at all.

    Args:
      name: "cifar10" or "cifar100".
      data_dir: holds, or is, an official folder or tar.gz.
      out_dir: the tfds data directory to write to; made if missing.
      layouts: forms of the official files.

    Returns:
      The folder that was written.

    Raises:
      ValueError: unknown name, no or damaged official files, the folder is already
        there or cannot be written, or tfds or pillow is not installed.
    """
    lookup(layouts, name, "data set to prepare")
    target = target_of(out_dir, name, VERSION)
    train, test = _read(name, pathlib.Path(data_dir).expanduser(), layouts[name])
    about = f"{name} as its authors released it."
    splits = {
        split: Written([len(images.labels)], _examples(split, images))
        for split, images in (("train", train), ("test", test))
    }
    features = _features(import_tfds(), name)
    description = Description(name, VERSION, about, HOMEPAGE)
    write(target, description, features, splits, "parquet")
    return target


def _read(name, data_dir, layouts):
    found = find_official(data_dir.resolve(), layouts) if data_dir.is_dir() else None
    if found is None:
        forms = [f"{form.folder}/ or {form.archive}" for form in layouts]
        raise ValueError(
            f"{data_dir} holds no official {name} files: looked for "
            f"{', '.join(forms)}. They are at {HOMEPAGE}."
        )
    return read_official(*found)


def _features(tfds, name):
    """Those of the stock builder, which reads what is written here."""
    features = {
        "id": tfds.features.Text(),
        "image": tfds.features.Image(shape=(32, 32, 3)),
        "label": tfds.features.ClassLabel(names=CIFAR10),
    }
    if name == "cifar100":
        features["label"] = tfds.features.ClassLabel(names=CIFAR100)
        features["coarse_label"] = tfds.features.ClassLabel(names=CIFAR100_COARSE)
    return tfds.features.FeaturesDict(features)


def _examples(split: str, images: Images) -> Iterator[dict]:
    """Examples in official order, which is also the order of their ids."""
    for i, label in enumerate(images.labels):
        example = {
            "id": f"{split}_{i:05d}",
            "image": _png(images.images[i]),
            "label": int(label),
        }
        if images.coarse_labels is not None:
            example["coarse_label"] = int(images.coarse_labels[i])
        yield example


def _png(image) -> io.BytesIO:
    """Encoded here, as tfds would encode an array by tensorflow."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    file.seek(0)
    return file
