"""Writes a version folder of tensorflow-datasets without tensorflow.

Shards are written here, not by a tfds builder: its parquet writer (4.9.10) keeps only
100 of the first 100, of the next 200, of the next 300 ... examples.
"""

import itertools
import os
import pathlib
import tempfile
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from egnas_jax.data.files.prepared import INSTALL

ROW_GROUP = 1000


class Written(NamedTuple):
    """One split of a data set that is to be written.

    Attributes:
      lengths: examples of each shard.
      examples: all of them, in order, as tfds's features take them.
    """

    lengths: list[int]
    examples: Iterable[dict]


class Description(NamedTuple):
    """What a folder says about itself, besides its features and splits."""

    name: str
    version: str
    text: str
    homepage: str


def import_tfds() -> types.ModuleType:
    """tensorflow_datasets.

    Raises:
      ValueError: it, or what it needs to write images, is not installed.
    """
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


def target_of(out_dir: str | pathlib.Path, name: str, version: str) -> pathlib.Path:
    """The folder to write.

    Raises:
      ValueError: it is already there.
    """
    target = pathlib.Path(out_dir).expanduser().resolve() / name / version
    if target.exists():
        raise ValueError(
            f"{target} is already there. Use it with --data-dir {out_dir}, delete it, "
            "or choose another --out."
        )
    return target


def write(
    target: pathlib.Path,
    description: Description,
    features: Any,
    splits: dict[str, Written],
    form: str,
) -> None:
    """Writes shards and metadata beside their place and renames them: all or nothing.

    Args:
      target: as `target_of` gives it.
      description: of the data set.
      features: tfds's, of every example.
      splits: by name.
      form: a key of `FORMS`.

    Raises:
      ValueError: it cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".part-") as scratch:
            # tfds takes name and version from the path.
            written = pathlib.Path(scratch) / description.name / description.version
            written.mkdir(parents=True)
            _write_shards(written, description, features, splits, form)
            os.replace(written, target)
    except OSError as error:
        raise ValueError(f"{target} cannot be written: {error}.") from error


def _write_shards(folder, description, features, splits, form):
    tfds = import_tfds()
    template = tfds.core.ShardedFileTemplate(
        data_dir=folder, dataset_name=description.name, filetype_suffix=form
    )
    infos = []
    for split, (lengths, examples) in splits.items():
        records, size = map(features.serialize_example, examples), 0
        for shard, length in enumerate(lengths):
            name = (
                f"{description.name}-{split}.{form}-{shard:05d}-of-{len(lengths):05d}"
            )
            FORMS[form](folder / name, itertools.islice(records, length))
            size += (folder / name).stat().st_size
        infos.append(
            tfds.core.SplitInfo(
                name=split,
                shard_lengths=lengths,
                num_bytes=size,
                filename_template=template,
            )
        )
    tfds.folder_dataset.write_metadata(
        data_dir=folder,
        features=features,
        split_infos=infos,
        version=description.version,
        filename_template=template,
        check_data=False,  # needs tensorflow
        description=description.text,
        supervised_keys=("image", "label"),
        homepage=description.homepage,
    )


def _write_parquet(path: pathlib.Path, records: Iterator[bytes]) -> None:
    """One binary column `data` of serialised examples: tfds's form of parquet."""
    import pyarrow
    import pyarrow.parquet

    schema = pyarrow.schema([pyarrow.field("data", pyarrow.binary())])
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        for rows in iter(lambda: list(itertools.islice(records, ROW_GROUP)), []):
            writer.write_table(pyarrow.table({"data": rows}, schema=schema))


def _write_array_record(path: pathlib.Path, records: Iterator[bytes]) -> None:
    """A group a record, so that each is read without its neighbours."""
    from array_record.python.array_record_module import ArrayRecordWriter

    writer = ArrayRecordWriter(str(path), "group_size:1")
    for each in records:
        writer.write(each)
    writer.close()


# parquet is what `tfds.load` and `tfds.data_source` both read, the latter as a whole
# into memory; array_record is read at random from disk
FORMS: dict[str, Callable] = {
    "parquet": _write_parquet,
    "array_record": _write_array_record,
}
