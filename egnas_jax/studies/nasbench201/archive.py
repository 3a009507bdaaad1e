"""Converts the benchmark's own archive, a folder of pickles, to the table's .npz.

`NATS-tss-v1_0-3ffb9-simple` holds `meta.pickle.pbz2`, whose `meta_archs` lists the
cells' texts, and `%06d.pickle.pbz2` for the cell with each index. That file maps the
number of epochs ("12", "200") to results, whose `all_results` map (data set, seed) to
one training, whose `eval_acc1es` map "images@epoch" to percent.

Pickles are read without executing code: an object that is no container, number, text
or numpy array is an error.

Source: the package nats_bench 1.8 (Dong et al., TPAMI 2021), `api_utils.py` and
`api_topology.py`. Accuracies are means over seeds, as there.
"""

import bz2
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from egnas_jax.data.files.unpickle import load_pickled_arrays
from egnas_jax.space import Topology
from egnas_jax.studies.nasbench201.read import read_table
from egnas_jax.studies.nasbench201.table import DATASETS, SPACE

# array in the .npz -> epochs, data set and images by their names in the archive.
# CIFAR-10 has no validation images of its own: "cifar10-valid" trains on a half.
COLUMNS = {
    "ep12_cifar10_val": ("12", "cifar10-valid", "x-valid"),
    "ep200_cifar10_test": ("200", "cifar10", "ori-test"),
    "ep12_cifar100_val": ("12", "cifar100", "x-valid"),
    "ep200_cifar100_test": ("200", "cifar100", "x-test"),
    "ep12_imagenet16_120_val": ("12", "ImageNet16-120", "x-valid"),
    "ep200_imagenet16_120_test": ("200", "ImageNet16-120", "x-test"),
}
EXTENSION = "pickle.pbz2"
WRONG_FORM = (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError)


def prepare_table(archive: str, out: str, log: Callable) -> None:
    """Writes the .npz that `read.NPZ_FORMAT` describes; nothing where a check fails.

    Args:
      archive: folder of the archive.
      out: path of the .npz.
      log: called with progress messages; 15,625 files take minutes.

    Raises:
      ValueError: the folder or a file in it has another form, or the resulting table
        is invalid.
    """
    path = pathlib.Path(out)
    if path.suffix != ".npz":
        raise ValueError(f"--out is {out!r}, but must end in .npz.")
    arrays = read_archive(pathlib.Path(archive), log)
    path.parent.mkdir(parents=True, exist_ok=True)
    unchecked = path.with_name(f".{path.stem}.unchecked.npz")
    try:
        np.savez_compressed(unchecked, **arrays)
        for dataset in DATASETS:
            read_table(unchecked, dataset)
        unchecked.rename(path)
    finally:
        unchecked.unlink(missing_ok=True)


def read_archive(folder: pathlib.Path, log: Callable) -> dict[str, np.ndarray]:
    """Arrays of the .npz, with the cells in the archive's order."""
    meta = _load(folder / f"meta.{EXTENSION}")
    names = meta.get("meta_archs") if isinstance(meta, dict) else None
    if not isinstance(names, list) or not names:
        raise ValueError(f"{folder}/meta.{EXTENSION} has no list `meta_archs`.")
    columns = {key: [] for key in COLUMNS}
    for index in range(len(names)):
        path = folder / f"{index:06d}.{EXTENSION}"
        results = _load(path)
        for key, place in COLUMNS.items():
            columns[key].append(_mean_accuracy(path, results, *place))
        if index % 1000 == 999:
            log(f"{index + 1} of {len(names)} cells read")
    return {
        "op_names": np.asarray(SPACE.primitives),
        "edge_ops": np.asarray([Topology.parse(n).choices for n in names], np.uint8),
        **{key: np.asarray(values, np.float32) for key, values in columns.items()},
    }


def _load(path: pathlib.Path) -> Any:
    try:
        return load_pickled_arrays(bz2.decompress(path.read_bytes()))
    except FileNotFoundError:
        raise ValueError(
            f"{path} does not exist; --data-dir must name the unpacked folder "
            f"NATS-tss-v1_0-3ffb9-simple."
        ) from None
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path} cannot be read: {error}.") from error


def _mean_accuracy(path, results: Any, epochs: str, dataset: str, images: str) -> float:
    """Percent after the last epoch, the mean over seeds."""
    try:
        accuracies = [
            training["eval_acc1es"][f"{images}@{training['epochs'] - 1}"]
            for (name, _), training in results[epochs]["all_results"].items()
            if name == dataset
        ]
        return sum(accuracies) / len(accuracies)
    except WRONG_FORM as error:
        raise ValueError(
            f"{path} has no accuracy on {images} of {dataset} after {epochs} epochs "
            f"({type(error).__name__}: {error}); it is no file of "
            f"NATS-tss-v1_0-3ffb9-simple."
        ) from None
