"""Turns folders of photographs, one a class, into a directory of tensorflow-datasets.

ImageNet as it is usually unpacked: train/CLASS/*.JPEG and val/CLASS/*.JPEG. Files are
stored as they are, as array_record, which is read at random from disk. Name, version
and features are those of the stock builder `imagenet2012`, which needs tensorflow to
prepare.
"""

import io
import pathlib
from collections.abc import Iterator

from egnas_jax.data.files.prepared import IMAGENET
from egnas_jax.data.files.tfds_folder import (
    Description,
    Written,
    import_tfds,
    target_of,
    write,
)

VERSION = "5.1.0"  # `tfds.builder("imagenet2012")` asks for it
HOMEPAGE = "https://www.image-net.org/"
SHARD = 5_000  # images; about 600 MB of ImageNet
SUFFIXES = (".jpeg", ".jpg", ".png")
FORM = (
    "It must hold train/CLASS/*.JPEG and val/CLASS/*.JPEG (or validation/), with the "
    "same classes in both"
)


def prepare_folders(
    data_dir: str | pathlib.Path, out_dir: str | pathlib.Path, shard: int = SHARD
) -> pathlib.Path:
    """Writes `OUT_DIR/imagenet2012/5.1.0` from folders of images, or not at all.

    A class's label is its place in the alphabet, as ImageNet's is.

    Args:
      data_dir: holds train/ and val/.
      out_dir: the tfds data directory to write to; made if missing.
      shard: images of a file at most.

    Returns:
      The folder that was written.

    Raises:
      ValueError: a folder or its images are missing, the classes differ, the target is
        there or cannot be written, or tfds is not installed.
    """
    data_dir = pathlib.Path(data_dir).expanduser()
    target = target_of(out_dir, IMAGENET, VERSION)
    folders = {"train": data_dir / "train", "validation": data_dir / "val"}
    if not folders["validation"].is_dir():
        folders["validation"] = data_dir / "validation"
    files = {split: _files(folder) for split, folder in folders.items()}
    classes = sorted(files["train"])
    other = sorted(set(classes) ^ set(files["validation"]))
    if other:
        raise ValueError(
            f"{data_dir}: the class {other[0]} has images in one of train and val "
            f"alone. {FORM}."
        )
    splits = {
        split: Written(
            _lengths(sum(map(len, own.values())), shard), _examples(classes, own)
        )
        for split, own in files.items()
    }
    tfds = import_tfds()
    features = tfds.features.FeaturesDict(
        {
            "file_name": tfds.features.Text(),
            "image": tfds.features.Image(encoding_format="jpeg"),
            "label": tfds.features.ClassLabel(names=classes),
        }
    )
    about = f"Images of {len(classes)} classes, as their files were."
    description = Description(IMAGENET, VERSION, about, HOMEPAGE)
    write(target, description, features, splits, "array_record")
    return target


def _files(folder: pathlib.Path) -> dict[str, list[pathlib.Path]]:
    """Images by class."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder. {FORM}.")
    classes = {
        child.name: sorted(
            path for path in child.iterdir() if path.suffix.lower() in SUFFIXES
        )
        for child in sorted(folder.iterdir())
        if child.is_dir()
    }
    empty = [name for name, paths in classes.items() if not paths]
    if empty or len(classes) < 2:
        found = f"{folder / empty[0]} holds no image" if empty else "fewer than 2"
        raise ValueError(f"{folder} holds no images by class ({found}). {FORM}.")
    return classes


def _lengths(images: int, shard: int) -> list[int]:
    """Images of each file, as equal as whole numbers are."""
    shards = -(-images // shard)
    return [images // shards + (i < images % shards) for i in range(shards)]


def _examples(classes, files) -> Iterator[dict]:
    for label, name in enumerate(classes):
        for path in files[name]:
            yield {
                "file_name": path.name,
                "image": io.BytesIO(path.read_bytes()),
                "label": label,
            }
