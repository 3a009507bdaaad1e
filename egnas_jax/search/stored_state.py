"""Reads the state of a search from a checkpoint, that of an earlier version too.

Earlier versions stored the momentum of tiny images leaf by leaf. Their checkpoints do
not say `one_vector` in what is saved beside the state.
"""

from typing import Any

import jax

from egnas_jax.search.state import (
    SearchHyperparams,
    SearchProblem,
    SearchState,
    init_state,
)
from egnas_jax.storage.checkpoint import Restored
from egnas_jax.training.sgd import packing


def layout(
    problem: SearchProblem,
    image_shape: tuple[int, int, int],
    hyperparams: SearchHyperparams,
) -> SearchState:
    """Returns shapes and dtypes of a search's state."""
    return jax.eval_shape(lambda: init_state(problem, image_shape, hyperparams))


def as_stored(problem: SearchProblem, meta: dict[str, Any]) -> SearchProblem:
    """Returns the problem whose state a checkpoint holds.

    Args:
      problem: the problem that is to go on with it.
      meta: of the checkpoint.
    """
    return problem._replace(one_vector=meta.get("one_vector", False))


def as_computed(problem: SearchProblem, restored: Restored) -> Restored:
    """Returns a checkpoint with the momentum as the problem computes with it."""
    if not problem.one_vector or restored.meta.get("one_vector", False):
        return restored
    state = restored.tree
    pack, _ = packing(state.params, one_vector=True)
    form = jax.tree.structure(state.params)

    def is_momentum(tree):
        return jax.tree.structure(tree) == form

    optimizer = jax.tree.map(
        lambda part: pack(part) if is_momentum(part) else part,
        state.optimizer,
        is_leaf=is_momentum,
    )
    return restored._replace(tree=state.replace(optimizer=optimizer))
