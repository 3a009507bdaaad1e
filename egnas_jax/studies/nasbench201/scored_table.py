"""Replaces the validation accuracies of the table by scores of a zero-cost proxy.

A search in such a table looks at scores alone, and no cell needs a training. Only the
order of the scores counts: a cell is worth the share of all cells with a lower score.

Source: Abdelfattah et al., Zero-Cost Proxies for Lightweight NAS (ICLR 2021), whose
searches begin with such scores.

Dims: R rows of the table, which are all cells.
"""

import pathlib

import jax.numpy as jnp
import numpy as np

from egnas_jax.lookup import lookup
from egnas_jax.proxies import PROXIES
from egnas_jax.proxies.ranks import share_of_lower
from egnas_jax.space import Topology
from egnas_jax.storage import records
from egnas_jax.studies.nasbench201.table import NUM_CELLS, BenchmarkTable, code_of


def with_scores(table: BenchmarkTable, scores: np.ndarray) -> BenchmarkTable:
    """Returns a table whose validation accuracy is the rank of a score, in [0, 1].

    Args:
      table: of the benchmark.
      scores: of each row, [R], larger is better; NaN ranks last.
    """
    return table.replace(valid=share_of_lower(jnp.asarray(scores, jnp.float32)))


def read_scores(
    path: str | pathlib.Path, proxy: str, table: BenchmarkTable
) -> np.ndarray:
    """Reads the scores of all cells by one proxy, [R], in the order of the table.

    Args:
      path: proxies.json of `egnas proxies --cells all`.
      proxy: a key of `PROXIES`.
      table: of the benchmark.

    Raises:
      ValueError: there is no such proxy, or the file has no scores by it of all cells.
    """
    lookup(PROXIES, proxy, "proxy")
    path = pathlib.Path(path)
    hint = "Make it by: egnas proxies --cells all --table FILE."
    stored = records.read_object(path, hint)
    scores, cells = stored.get("scores", {}), stored.get("cells", [])
    if not isinstance(scores, dict) or not isinstance(cells, list):
        raise ValueError(f"{path} holds no scores of cells. {hint}")
    if proxy not in scores:
        known = f"has {', '.join(scores)}" if scores else "has none"
        raise ValueError(f"{path} has no scores by {proxy}; it {known}. {hint}")
    try:
        choices = np.asarray([Topology.parse(cell).choices for cell in cells])
        codes = set(code_of(choices).tolist()) if len(cells) else set()
    except ValueError as error:
        raise ValueError(
            f"{path} holds another space's cells: {error} {hint}"
        ) from None
    if len(codes) != NUM_CELLS or len(cells) != NUM_CELLS:
        raise ValueError(
            f"{path} has scores of {len(codes)} cells, and a search needs those of all "
            f"{NUM_CELLS}, each once. {hint}"
        )
    values = np.full(NUM_CELLS, np.nan)
    values[np.asarray(table.row_of)[code_of(choices)]] = _numbers(path, scores, proxy)
    return values


def _numbers(path: pathlib.Path, scores: dict, proxy: str) -> np.ndarray:
    """Scores of all cells by one proxy; a missing one is null in JSON, and NaN here."""
    try:
        values = np.asarray(scores[proxy], float)
    except (TypeError, ValueError, OverflowError):
        values = np.empty(0)
    if values.shape != (NUM_CELLS,) or np.isnan(values).all():
        raise ValueError(
            f"{path}: the scores by {proxy} must be {NUM_CELLS} numbers, or null where "
            f"a cell has none, and not all null. Make the file anew by egnas proxies."
        )
    return values
