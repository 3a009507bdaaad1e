"""Reads the table of NAS-Bench-201 from an .npz of the user's.

The project ships no table. `egnas data prepare --name nasbench201` makes this file from
the benchmark's own archive.

Dims: R rows, E edges.
"""

import pathlib
from collections.abc import Mapping

import numpy as np

from egnas_jax.data.files.arrays import read_arrays
from egnas_jax.lookup import lookup
from egnas_jax.studies.nasbench201.table import (
    DATASETS,
    NUM_CELLS,
    SPACE,
    BenchmarkTable,
    code_of,
    make_table,
)
from egnas_jax.training.jax_settings import pinned

NPZ_FORMAT = (
    "A table is an .npz with `op_names` [5], `edge_ops` (whole numbers [15625, 6] into "
    "op_names, by edge 0-1, 0-2, 1-2, 0-3, 1-3, 2-3), and for a data set D of "
    f"{', '.join(DATASETS)} the accuracies in percent `ep12_D_val` and `ep200_D_test` "
    "[15625]. `egnas data prepare --name nasbench201 --data-dir ARCHIVE --out FILE.npz`"
    " makes one from the folder NATS-tss-v1_0-3ffb9-simple."
)


@pinned()
def read_table(path: str | pathlib.Path, dataset: str) -> BenchmarkTable:
    """Reads the table of one data set.

    Raises:
      ValueError: the data set is unknown; the file is missing, damaged or no .npz; an
        array is missing or has another shape; a cell is missing; an accuracy is no
        percentage.
    """
    lookup(DATASETS, dataset, "data set of the table")
    path = pathlib.Path(path).expanduser()
    if path.is_dir() or path.name.endswith((".pbz2", ".pth")):
        raise ValueError(
            f"--table is {str(path)!r}, an archive of the benchmark or a folder, but "
            f"must be an .npz. {NPZ_FORMAT}"
        )
    valid, test = f"ep12_{dataset}_val", f"ep200_{dataset}_test"
    names = ("op_names", "edge_ops", valid, test)
    arrays = read_arrays(path, names, "--table", NPZ_FORMAT)
    for name in names:
        if name not in arrays:
            raise ValueError(f"{path} has no `{name}`. {NPZ_FORMAT}")
    return make_table(
        _choices(path, arrays["op_names"], arrays["edge_ops"]),
        _fractions(path, valid, arrays),
        _fractions(path, test, arrays),
    )


def _choices(path: pathlib.Path, names: np.ndarray, edge_ops: np.ndarray) -> np.ndarray:
    """Choices [R, E] as indices into the space's primitives."""
    names = [str(name) for name in np.atleast_1d(names)]
    if sorted(names) != sorted(SPACE.primitives):
        raise ValueError(
            f"{path}: `op_names` are {', '.join(names)[:200]}, but must be "
            f"{', '.join(SPACE.primitives)}, in any order."
        )
    shape = (NUM_CELLS, SPACE.num_edges)
    if edge_ops.shape != shape or edge_ops.dtype.kind not in "ui":
        raise ValueError(
            f"{path}: `edge_ops` must be whole numbers {list(shape)}, got "
            f"{edge_ops.dtype} {list(edge_ops.shape)}. {NPZ_FORMAT}"
        )
    if edge_ops.min() < 0 or edge_ops.max() >= len(names):
        raise ValueError(
            f"{path}: `edge_ops` holds {edge_ops.min()} to {edge_ops.max()}, but must "
            f"hold 0 to {len(names) - 1}."
        )
    choices = np.asarray([SPACE.primitives.index(name) for name in names])[edge_ops]
    distinct = len(np.unique(code_of(choices)))
    if distinct != NUM_CELLS:
        raise ValueError(
            f"{path}: `edge_ops` names {distinct} different cells, but each of the "
            f"{NUM_CELLS} must be there once."
        )
    return choices


def _fractions(
    path: pathlib.Path, name: str, arrays: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Accuracies of one array as fractions, from percent."""
    percent = arrays[name]
    if percent.shape != (NUM_CELLS,) or percent.dtype.kind not in "uif":
        raise ValueError(
            f"{path}: `{name}` must be numbers [{NUM_CELLS}], got {percent.dtype} "
            f"{list(percent.shape)}."
        )
    percent = percent.astype(np.float64)
    invalid = np.flatnonzero(~((percent >= 0) & (percent <= 100)))
    if len(invalid):
        raise ValueError(
            f"{path}: `{name}` holds {percent[invalid[0]]} in row {invalid[0]}; "
            f"accuracies are percent, 0 to 100."
        )
    if percent.max() <= 1:
        raise ValueError(
            f"{path}: the largest value of `{name}` is {percent.max():.4f}; accuracies "
            f"are percent, 0 to 100, not fractions."
        )
    return percent / 100
