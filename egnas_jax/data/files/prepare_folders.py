"""Converts folders of image files into a tensorflow-datasets directory.

ImageNet is usually unpacked as train/CLASS/*.JPEG and val/CLASS/*.JPEG. The files are
stored unchanged in array_record, from which single images can be read; `photographs`
converts them to RGB whenever they are read. Name, version and features are those of the
stock builder `imagenet2012`, which itself needs tensorflow to prepare the data.
"""

import io
import logging
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

from egnas_jax.data.files.image_checks import readable
from egnas_jax.data.files.image_folders import (
    SUFFIXES,
    FilesByClass,
    ImageFiles,
    count_kinds,
    list_images,
)
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


def prepare_folders(
    data_dir: str | pathlib.Path,
    out_dir: str | pathlib.Path,
    shard: int = SHARD,
    *,
    skip_broken: bool = False,
    log: Callable[[str], Any] | None = None,
) -> pathlib.Path:
    """Writes `OUT_DIR/imagenet2012/5.1.0`; a failure leaves nothing behind.

    Labels number the classes in alphabetical order, which is ImageNet's own order.
    Every image is decoded before anything is written.

    Args:
      data_dir: holds train/ and val/.
      out_dir: the tfds data directory to write to; created if it does not exist.
      shard: largest number of images per file.
      skip_broken: whether to leave out images that cannot be read, and list them.
      log: called with notes on the images and with their counts per class; None: the
        logger "egnas_jax" gets them as warnings.

    Returns:
      The folder that was written.

    Raises:
      ValueError: a folder or its images are missing, the classes of the two splits
        differ, an image cannot be read, the target exists or cannot be written, or tfds
        is not installed.
    """
    log = log or logging.getLogger("egnas_jax").warning
    tfds = import_tfds()
    target = new_version_folder(out_dir, IMAGENET, VERSION)
    listed = list_images(pathlib.Path(data_dir).expanduser())
    _note_left_out(listed, log)
    files = readable(listed.by_split, skip_broken=skip_broken, log=log)
    classes = sorted(files["train"])
    splits = {}
    for split, by_class in files.items():
        lengths = _shard_lengths(sum(map(len, by_class.values())), shard)
        splits[split] = SplitExamples(lengths, _examples(classes, by_class))
    text = f"Images of {len(classes)} classes, as their files were."
    description = Description(IMAGENET, VERSION, text, HOMEPAGE)
    features = _features(tfds, classes)
    write_version_folder(target, description, features, splits, "array_record")
    _note_counts(files, log)
    return target


def _note_left_out(listed: ImageFiles, log: Callable[[str], Any]) -> None:
    if listed.left_out:
        log(
            f"Left out: {count_kinds(listed.left_out)}. Images are the files of a "
            f"class folder that end in {', '.join(SUFFIXES)}."
        )


def _note_counts(files: dict[str, FilesByClass], log: Callable[[str], Any]) -> None:
    """Lists the number of images per class and split."""
    log("Images per class (train, validation):")
    for name in sorted(files["train"]):
        log(f"  {name}: {len(files['train'][name])}, {len(files['validation'][name])}")


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
