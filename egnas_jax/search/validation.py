"""Evaluates a search on validation images: the incumbent, and the loss's curvature.

The functions are pure and not compiled here, as those of `search.step`.

Dims: M directions, D = flat length of alpha.
"""

import chex
import jax

from egnas_jax.data.batches import draw_batch
from egnas_jax.search.curvature import (
    alpha_loss,
    hessian_products,
    twice_differentiable,
)
from egnas_jax.search.evaluate import score_population
from egnas_jax.search.relax import flatten
from egnas_jax.search.state import (
    SearchData,
    SearchHyperparams,
    SearchProblem,
    SearchState,
)
from egnas_jax.search.valid_batches import valid_images
from egnas_jax.space import SPACES
from egnas_jax.training.random_streams import stream
from egnas_jax.types import Array, Evaluation


def validate(
    problem: SearchProblem,
    data: SearchData,
    hyperparams: SearchHyperparams,
    state: SearchState,
) -> Evaluation:
    """Evaluates the incumbent on all validation images, with running statistics."""
    mixing = problem.strategy.incumbent(state.strategy)
    key = jax.random.fold_in(stream(hyperparams.seed, "validate"), state.epoch)
    mixings = jax.tree.map(lambda leaf: leaf[None], mixing)
    images = valid_images(
        problem.schedule, problem.augmentation, data.scale, key, data.valid.images
    )
    scores = score_population(
        problem.net,
        state.variables,
        mixings,
        images,
        data.valid.labels,
        population_chunk=None,
        image_chunk=problem.validation_chunk,
        batch_stats="running",
    )
    return jax.tree.map(lambda leaf: leaf[0], scores)


def curvature(
    problem: SearchProblem,
    data: SearchData,
    hyperparams: SearchHyperparams,
    state: SearchState,
    directions: Array,
) -> Array:
    """Multiplies the Hessian of the validation loss in alpha with directions, [M, D].

    The images are the same in every epoch, so that the epochs differ by alpha and the
    weights alone.
    """
    chex.assert_rank(directions, 2)
    key = stream(hyperparams.seed, "watch")
    chosen = draw_batch(key, len(data.valid.labels), problem.watch.images)
    batch = data.valid_batch(chosen)
    net = twice_differentiable(problem.net)
    loss = alpha_loss(net, problem.strategy, state.variables, batch, state.strategy)
    alpha = flatten(SPACES[net.config.space], state.strategy.alpha)
    return hessian_products(loss, alpha, directions)
