"""Starts a retraining with the weights of another one."""

import dataclasses
import pathlib

import jax

from egnas_jax.retrain.config import RetrainConfig
from egnas_jax.retrain.step import RetrainState
from egnas_jax.runs.finished_network import load_config, restore
from egnas_jax.storage import checkpoint
from egnas_jax.types import Array, PyTree


def with_initial_digest(
    config: RetrainConfig, folder: pathlib.Path | None
) -> RetrainConfig:
    """The configuration with the digest of the weights of `config.init_from`.

    Args:
      config: of the retraining.
      folder: run directory, whose own record counts where that run is gone; or None.
    """
    if config.init_from is None:
        return config
    try:
        variables = restore(pathlib.Path(config.init_from)).tree.variables
        digest = checkpoint.digest(variables)
    except ValueError:  # a resumed run may need it no more; else its reader says so
        if folder is None or not (folder / "config.json").exists():
            return config
        digest = load_config(folder).init_digest
    return dataclasses.replace(config, init_digest=digest)


def with_weights_of(state: RetrainState, folder: pathlib.Path) -> RetrainState:
    """The state with the weights and batch_stats of a finished run.

    Classifiers of another number of classes keep their initial weights. So does the
    auxiliary head where the other network has none.

    Raises:
      ValueError: the run has no valid checkpoint, or holds another network.
    """
    variables = restore(folder).tree.variables
    return state.replace(
        params=_transferred(state.params, variables["params"], folder),
        batch_stats=_transferred(state.batch_stats, variables["batch_stats"], folder),
    )


def _transferred(initial: PyTree, stored: PyTree, folder: pathlib.Path) -> PyTree:
    leaves = dict(jax.tree_util.tree_leaves_with_path(stored))

    def choose(path, leaf: Array) -> Array:
        stored_leaf = leaves.get(path)
        if stored_leaf is not None and stored_leaf.shape == leaf.shape:
            return stored_leaf
        if _may_differ(path, is_missing=stored_leaf is None):
            return leaf
        size = "nothing" if stored_leaf is None else stored_leaf.shape
        raise ValueError(
            f"{folder} holds another network: at {jax.tree_util.keystr(path)} it has "
            f"{size}, where {leaf.shape} is needed. Genotype, channels, layers and "
            f"image channels must be those of that run."
        )

    return jax.tree_util.tree_map_with_path(choose, initial)


def _may_differ(path, *, is_missing: bool) -> bool:
    """Whether a leaf is of a classifier, or of an auxiliary head that is missing."""
    part = path[0].key
    if part == "auxiliary":
        return is_missing or path[1].key == "classifier"
    return part == "classifier"
