"""Turns official CIFAR files into a directory of tensorflow-datasets.

The stock builders need tensorflow to prepare CIFAR. This does not, and writes their
features under their name and version as parquet, the one format that both `tfds.load`
and `tfds.data_source` read.
"""

import io
import itertools
import os
import pathlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping

from egnas_jax.data.class_names import CIFAR10, CIFAR100, CIFAR100_COARSE
from egnas_jax.data.layouts import LAYOUTS, Layout, find_official
from egnas_jax.data.official import Images, read_official
from egnas_jax.data.prepared import INSTALL
from egnas_jax.lookup import lookup

# The version of the stock builders; `tfds.load("cifar10")` asks for it.
VERSION = "3.0.2"
HOMEPAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"
ROW_GROUP = 1000


def prepare(
    name: str,
    data_dir: str | pathlib.Path,
    out_dir: str | pathlib.Path,
    layouts: Mapping[str, tuple[Layout, ...]] = LAYOUTS,
) -> pathlib.Path:
    """Writes `OUT_DIR/NAME/3.0.2` from official files.

    It is written beside its place and renamed, so it is there whole or not at all.

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
    data_dir, out_dir = pathlib.Path(data_dir).expanduser(), pathlib.Path(out_dir)
    target = out_dir.expanduser().resolve() / name / VERSION
    if target.exists():
        raise ValueError(
            f"{target} is already there. Use it with --data-dir {out_dir}, delete it, "
            "or choose another --out."
        )
    train, test = _read(name, data_dir, layouts[name])
    tfds = _import_tfds()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".part-") as scratch:
            # tfds takes name and version from the path.
            written = pathlib.Path(scratch) / name / VERSION
            written.mkdir(parents=True)
            _write(tfds, name, {"train": train, "test": test}, written)
            os.replace(written, target)
    except OSError as error:
        raise ValueError(f"{target} cannot be written: {error}.") from error
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


def _import_tfds():
    try:
        import importlib_resources  # noqa: F401  tfds needs it but does not ask for it
        import PIL.Image  # noqa: F401
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise ValueError(
            f"`egnas data prepare` needs tensorflow-datasets, importlib_resources and "
            f"pillow ({error}): {INSTALL}."
        ) from error
    return tfds


def _write(tfds, name, splits, folder):
    """Shards and metadata of a version folder.

    The shards are written here, not by a tfds builder: its parquet writer (4.9.10)
    keeps only 100 of the first 100, of the next 200, of the next 300 ... examples.
    """
    features = _features(tfds, name)
    template = tfds.core.ShardedFileTemplate(
        data_dir=folder, dataset_name=name, filetype_suffix="parquet"
    )
    infos = []
    for split, images in splits.items():
        shard = folder / f"{name}-{split}.parquet-00000-of-00001"
        examples = _examples(split, images)
        _write_parquet(shard, map(features.serialize_example, examples))
        infos.append(
            tfds.core.SplitInfo(
                name=split,
                shard_lengths=[len(images.labels)],
                num_bytes=shard.stat().st_size,
                filename_template=template,
            )
        )
    tfds.folder_dataset.write_metadata(
        data_dir=folder,
        features=features,
        split_infos=infos,
        version=VERSION,
        filename_template=template,
        check_data=False,  # needs tensorflow
        description=f"{name} as its authors released it.",
        supervised_keys=("image", "label"),
        homepage=HOMEPAGE,
    )


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


def _write_parquet(path: pathlib.Path, records: Iterable[bytes]) -> None:
    """One binary column `data` of serialised examples: tfds's form of parquet."""
    import pyarrow
    import pyarrow.parquet

    schema = pyarrow.schema([pyarrow.field("data", pyarrow.binary())])
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        for rows in iter(lambda: list(itertools.islice(records, ROW_GROUP)), []):
            writer.write_table(pyarrow.table({"data": rows}, schema=schema))


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
