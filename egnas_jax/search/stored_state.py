"""Reads the state of a search from a checkpoint."""

import pathlib

import jax

from egnas_jax.search.step import (
    SearchHyperparams,
    SearchProblem,
    SearchState,
    init_state,
)
from egnas_jax.storage import checkpoint
from egnas_jax.training.sgd import packing


def layout(
    problem: SearchProblem,
    image_shape: tuple[int, int, int],
    hyperparams: SearchHyperparams,
) -> SearchState:
    """Returns shapes and dtypes of a search's state, which a checkpoint must fit."""
    return jax.eval_shape(lambda: init_state(problem, image_shape, hyperparams))


def restore_state(
    folder: pathlib.Path,
    problem: SearchProblem,
    image_shape: tuple[int, int, int],
    hyperparams: SearchHyperparams,
    *,
    step: int | None = None,
) -> checkpoint.Restored:
    """Reads the newest valid checkpoint of a search, or that of a step.

    Earlier versions stored the momentum of tiny images leaf by leaf. It is packed.

    Args:
      folder: of all checkpoints of a run.
      problem, image_shape, hyperparams: of the run.
      step: of the checkpoint; None: the newest.

    Raises:
      NoCheckpointError: there is no checkpoint, or all are damaged.
      ValueError: a valid checkpoint holds another structure.
    """
    try:
        target = layout(problem, image_shape, hyperparams)
        return checkpoint.restore(folder, target, step=step)
    except checkpoint.NoCheckpointError:
        raise
    except ValueError as error:
        if not problem.one_vector:
            raise
        target = layout(problem._replace(one_vector=False), image_shape, hyperparams)
        try:
            restored = checkpoint.restore(folder, target, step=step)
        except ValueError:
            raise error from None
    return restored._replace(tree=_packed(restored.tree))


def _packed(state: SearchState) -> SearchState:
    """The state with its momentum in one vector."""
    pack, _ = packing(state.params, one_vector=True)
    form = jax.tree.structure(state.params)

    def is_momentum(tree):
        return jax.tree.structure(tree) == form

    optimizer = jax.tree.map(
        lambda part: pack(part) if is_momentum(part) else part,
        state.optimizer,
        is_leaf=is_momentum,
    )
    return state.replace(optimizer=optimizer)
