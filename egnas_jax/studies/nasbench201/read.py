"""Reads the table of NAS-Bench-201 from an .npz of the user's.

The project ships no table. `egnas data prepare --name nasbench201` makes this file from
the benchmark's own archive.

Dims: R rows, E edges.
"""

import pathlib

import numpy as np

from egnas_jax.data.files.arrays import read_arrays
from egnas_jax.lookup import lookup
from egnas_jax.studies.nasbench201.table import (
    DATASETS,
    NUM_CELLS,
    SPACE,
    Table,
    code_of,
    make_table,
)

FORM = (
    "A table is an .npz with `op_names` [5], `edge_ops` (whole numbers [15625, 6] into "
    "op_names, by edge 0-1, 0-2, 1-2, 0-3, 1-3, 2-3), and for a data set D of "
    f"{', '.join(DATASETS)} the accuracies in percent `ep12_D_val` and `ep200_D_test` "
    "[15625]. `egnas data prepare --name nasbench201 --data-dir ARCHIVE --out FILE.npz`"
    " makes one from the folder NATS-tss-v1_0-3ffb9-simple."
)


def read_table(path: str | pathlib.Path, dataset: str) -> Table:
    """The table of one data set.

    Raises:
      ValueError: unknown data set; the file is missing, no .npz or damaged; an array is
        missing or of another shape; a cell is missing; an accuracy is none.
    """
    lookup(DATASETS, dataset, "data set of the table")
    path = pathlib.Path(path).expanduser()
    if path.is_dir() or path.name.endswith((".pbz2", ".pth")):
        raise ValueError(
            f"--table is {str(path)!r}, an archive of the benchmark or a folder, but "
            f"must be an .npz. {FORM}"
        )
    valid, test = f"ep12_{dataset}_val", f"ep200_{dataset}_test"
    arrays = read_arrays(path, ("op_names", "edge_ops", valid, test), "--table", FORM)
    for key in ("op_names", "edge_ops", valid, test):
        if key not in arrays:
            raise ValueError(f"{path} has no `{key}`. {FORM}")
    choices = _choices(path, arrays["op_names"], arrays["edge_ops"])
    return make_table(
        choices, _fractions(path, valid, arrays), _fractions(path, test, arrays)
    )


def _choices(path, names, edge_ops):
    """Choices [R, E] in the order of the space's primitives."""
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
            f"{edge_ops.dtype} {list(edge_ops.shape)}. {FORM}"
        )
    if edge_ops.min() < 0 or edge_ops.max() >= len(names):
        raise ValueError(
            f"{path}: `edge_ops` holds {edge_ops.min()} to {edge_ops.max()}, but must "
            f"hold 0 to {len(names) - 1}."
        )
    ours = np.asarray([SPACE.primitives.index(name) for name in names])
    choices = ours[edge_ops]
    different = len(np.unique(code_of(choices)))
    if different != NUM_CELLS:
        raise ValueError(
            f"{path}: `edge_ops` names {different} different cells, but each of the "
            f"{NUM_CELLS} must be there once."
        )
    return choices


def _fractions(path, key, arrays):
    """Accuracies of one key, from percent."""
    percent = arrays[key]
    if percent.shape != (NUM_CELLS,) or percent.dtype.kind not in "uif":
        raise ValueError(
            f"{path}: `{key}` must be numbers [{NUM_CELLS}], got {percent.dtype} "
            f"{list(percent.shape)}."
        )
    percent = percent.astype(np.float64)
    bad = np.flatnonzero(~((percent >= 0) & (percent <= 100)))
    if len(bad):
        raise ValueError(
            f"{path}: `{key}` holds {percent[bad[0]]} in row {bad[0]}; accuracies are "
            f"percent, 0 to 100."
        )
    if percent.max() <= 1:
        raise ValueError(
            f"{path}: `{key}` ends at {percent.max():.4f}; accuracies are percent, "
            f"0 to 100, not fractions."
        )
    return percent / 100
