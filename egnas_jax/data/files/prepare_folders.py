"""Converts ImageNet's folders of JPEG files into a tensorflow-datasets directory.

ImageNet is usually unpacked as train/CLASS/*.JPEG and val/CLASS/*.JPEG. The files are
stored unchanged in array_record, from which single images can be read. Name, version
and features are those of the stock builder `imagenet2012`, which itself needs
tensorflow to prepare the data.
"""

import io
import pathlib
from collections.abc import Iterator

from egnas_jax.data.files.prepared import IMAGENET
from egnas_jax.data.files.tfds_folder import (
    Description,
    SplitExamples,
    import_tfds,
    new_version_folder,
    write_version_folder,
)

VERSION = "5.1.0"  # of the stock builder, which `tfds.builder("imagenet2012")` asks for
HOMEPAGE = "https://www.image-net.org/"
SHARD = 5_000  # images; about 600 MB of ImageNet
SUFFIXES = (".jpeg", ".jpg", ".png")
FOLDER_FORM = (
    "It must hold train/CLASS/*.JPEG and val/CLASS/*.JPEG (or validation/), with the "
    "same classes in both"
)


def prepare_folders(
    data_dir: str | pathlib.Path, out_dir: str | pathlib.Path, shard: int = SHARD
) -> pathlib.Path:
    """Writes `OUT_DIR/imagenet2012/5.1.0`; a failure leaves nothing behind.

    Labels number the classes in alphabetical order, which is ImageNet's own order.

    Args:
      data_dir: holds train/ and val/.
      out_dir: the tfds data directory to write to; created if it does not exist.
      shard: largest number of images per file.

    Returns:
      The folder that was written.

    Raises:
      ValueError: a folder or its images are missing, the classes of the two splits
        differ, the target exists or cannot be written, or tfds is not installed.
    """
    target = new_version_folder(out_dir, IMAGENET, VERSION)
    files = _files_by_split(pathlib.Path(data_dir).expanduser())
    classes = sorted(files["train"])
    splits = {}
    for split, by_class in files.items():
        lengths = _shard_lengths(sum(map(len, by_class.values())), shard)
        splits[split] = SplitExamples(lengths, _examples(classes, by_class))
    features = _features(import_tfds(), classes)
    text = f"Images of {len(classes)} classes, as their files were."
    description = Description(IMAGENET, VERSION, text, HOMEPAGE)
    write_version_folder(target, description, features, splits, "array_record")
    return target


def _files_by_split(data_dir: pathlib.Path) -> dict[str, dict]:
    """Image files by split and class."""
    folders = {"train": data_dir / "train", "validation": data_dir / "val"}
    if not folders["validation"].is_dir():
        folders["validation"] = data_dir / "validation"
    files = {split: _files_by_class(folder) for split, folder in folders.items()}
    unmatched = sorted(set(files["train"]) ^ set(files["validation"]))
    if unmatched:
        raise ValueError(
            f"{data_dir}: the class {unmatched[0]} has images in one of train and val "
            f"alone. {FOLDER_FORM}."
        )
    return files


def _files_by_class(folder: pathlib.Path) -> dict[str, list[pathlib.Path]]:
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder. {FOLDER_FORM}.")
    files = {
        child.name: sorted(
            path for path in child.iterdir() if path.suffix.lower() in SUFFIXES
        )
        for child in sorted(folder.iterdir())
        if child.is_dir()
    }
    for name, paths in files.items():
        if not paths:
            raise ValueError(f"{folder / name} holds no image. {FOLDER_FORM}.")
    if len(files) < 2:
        raise ValueError(f"{folder} holds fewer than 2 class folders. {FOLDER_FORM}.")
    return files


def _shard_lengths(num_images: int, shard: int) -> list[int]:
    """Numbers of images per file, which differ by one at most."""
    num_shards = -(-num_images // shard)
    full, rest = divmod(num_images, num_shards)
    return [full + (i < rest) for i in range(num_shards)]


def _features(tfds, classes):
    """The features of the stock builder, which has to read the folder."""
    return tfds.features.FeaturesDict(
        {
            "file_name": tfds.features.Text(),
            "image": tfds.features.Image(encoding_format="jpeg"),
            "label": tfds.features.ClassLabel(names=classes),
        }
    )


def _examples(classes, by_class) -> Iterator[dict]:
    for label, name in enumerate(classes):
        for path in by_class[name]:
            content = io.BytesIO(path.read_bytes())
            yield {"file_name": path.name, "image": content, "label": label}
