"""Writes a version folder of tensorflow-datasets without tensorflow.

The shards are written here and not by a tfds builder, because the parquet writer of
tfds 4.9.10 loses examples: it keeps 100 of the first 100, of the next 200, of the next
300, and so on.
"""

import contextlib
import itertools
import os
import pathlib
import tempfile
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from egnas_jax.data.files.prepared import INSTALL

ROW_GROUP = 1000  # examples


class SplitExamples(NamedTuple):
    """The examples of one split.

    Attributes:
      shard_lengths: number of examples of each shard.
      examples: all examples in order, as dictionaries that the tfds features encode.
    """

    shard_lengths: list[int]
    examples: Iterable[dict]


class Description(NamedTuple):
    """What a folder states about its data set, besides features and splits."""

    name: str
    version: str
    text: str
    homepage: str


def import_tfds() -> types.ModuleType:
    """Imports tensorflow_datasets.

    Raises:
      ValueError: it is not installed, or a package it needs to write images is not.
    """
    try:
        import importlib_resources  # noqa: F401  tfds needs it but does not require it
        import PIL.Image  # noqa: F401
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise ValueError(
            f"`egnas data prepare` needs tensorflow-datasets, importlib_resources and "
            f"pillow ({error}): {INSTALL}."
        ) from error
    return tfds


def new_version_folder(
    out_dir: str | pathlib.Path, name: str, version: str
) -> pathlib.Path:
    """The path `OUT_DIR/NAME/VERSION`, which is not created yet.

    Raises:
      ValueError: it exists.
    """
    target = pathlib.Path(out_dir).expanduser().resolve() / name / version
    if target.exists():
        raise ValueError(
            f"{target} is already there. Use it with --data-dir {out_dir}, delete it, "
            "or choose another --out."
        )
    return target


def write_version_folder(
    target: pathlib.Path,
    description: Description,
    features: Any,
    splits: dict[str, SplitExamples],
    file_format: str,
) -> None:
    """Writes shards and metadata under a temporary name, and renames the folder.

    A failure leaves nothing behind.

    Args:
      target: a path that `new_version_folder` returned.
      description: of the data set.
      features: the tfds features of an example.
      splits: the splits by name.
      file_format: a key of `WRITERS`.

    Raises:
      ValueError: the folder cannot be written.
    """
    try:
        with (
            _parents(target),
            tempfile.TemporaryDirectory(dir=target.parent, prefix=".part-") as scratch,
        ):
            # The last two folders of the path tell tfds the name and the version.
            folder = pathlib.Path(scratch) / description.name / description.version
            folder.mkdir(parents=True)
            _write_files(folder, description, features, splits, file_format)
            os.replace(folder, target)
    except OSError as error:
        raise ValueError(f"{target} cannot be written: {error}.") from error


@contextlib.contextmanager
def _parents(target: pathlib.Path) -> Iterator[None]:
    """Makes the folders above a path, and removes them if the block fails."""
    made = [folder for folder in target.parents if not folder.exists()]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for folder in made:  # the innermost first
            with contextlib.suppress(OSError):  # another process uses it
                folder.rmdir()
        raise


def _write_files(folder, description, features, splits, file_format):
    tfds = import_tfds()
    template = tfds.core.ShardedFileTemplate(
        data_dir=folder, dataset_name=description.name, filetype_suffix=file_format
    )
    split_infos = []
    for split, (lengths, examples) in splits.items():
        records = map(features.serialize_example, examples)
        stem = f"{description.name}-{split}.{file_format}"
        info = tfds.core.SplitInfo(
            name=split,
            shard_lengths=lengths,
            num_bytes=_write_shards(folder / stem, lengths, records, file_format),
            filename_template=template,
        )
        split_infos.append(info)
    tfds.folder_dataset.write_metadata(
        data_dir=folder,
        features=features,
        split_infos=split_infos,
        version=description.version,
        filename_template=template,
        check_data=False,  # because that needs tensorflow
        description=description.text,
        supervised_keys=("image", "label"),
        homepage=description.homepage,
    )


def _write_shards(stem, lengths, records, file_format) -> int:
    """Writes the files STEM-00000-of-N, ..., and returns their total size in bytes."""
    num_bytes = 0
    for shard, length in enumerate(lengths):
        path = stem.with_name(f"{stem.name}-{shard:05d}-of-{len(lengths):05d}")
        WRITERS[file_format](path, itertools.islice(records, length))
        num_bytes += path.stat().st_size
    return num_bytes


def _write_parquet(path: pathlib.Path, records: Iterator[bytes]) -> None:
    """Writes one binary column `data` of serialised examples, as tfds expects it."""
    import pyarrow
    import pyarrow.parquet

    schema = pyarrow.schema([pyarrow.field("data", pyarrow.binary())])
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        for rows in iter(lambda: list(itertools.islice(records, ROW_GROUP)), []):
            writer.write_table(pyarrow.table({"data": rows}, schema=schema))


def _write_array_record(path: pathlib.Path, records: Iterator[bytes]) -> None:
    """Writes groups of one record, so that each can be read without its neighbours."""
    from array_record.python.array_record_module import ArrayRecordWriter

    writer = ArrayRecordWriter(str(path), "group_size:1")
    for record in records:
        writer.write(record)
    writer.close()


# Both `tfds.load` and `tfds.data_source` read parquet, but `data_source` loads all of
# it into memory. From array_record it reads single examples from disk.
WRITERS: dict[str, Callable] = {
    "parquet": _write_parquet,
    "array_record": _write_array_record,
}
