"""Turns a SearchConfig into a record of pure functions, without a run directory."""

import dataclasses

from egnas_jax.nn.supernet import make_supernet
from egnas_jax.runs.limits import limit_of_run
from egnas_jax.runs.search_config import SearchConfig, with_limit_of
from egnas_jax.runs.search_setup import check_images, search_hyperparams, search_problem
from egnas_jax.runs.stages import planned_stages
from egnas_jax.search.functions import SearchFunctions, make_functions
from egnas_jax.training.jax_settings import pinned


@pinned()
def make_search(
    config: SearchConfig, image_shape: tuple[int, int, int], num_classes: int
) -> SearchFunctions:
    """Makes a search as pure functions of keys, states, data and hyperparameters.

    `jax.jit` compiles them, and `jax.vmap` batches them over keys, states and
    hyperparameters; `SearchFunctions` documents each with its shapes. They are the
    functions that `run_search` runs, and nothing is written.

    >>> import jax, jax.numpy as jnp, numpy as np
    >>> import egnas_jax as eg
    >>> config = eg.search_config(
    ...     strategy="random_search",
    ...     space="nasbench201",
    ...     settings={"epochs": 2, "supernet.layers": 5, "strategy.candidates": 4},
    ... )
    >>> images = np.random.default_rng(0).integers(0, 256, (400, 8, 8, 1), np.uint8)
    >>> labels = np.arange(400) % 3
    >>> search = eg.make_search(config, image_shape=(8, 8, 1), num_classes=3)
    >>> data = eg.search_data(config, data=(images, labels))

    Four searches with keys of their own run as one program, on the same images:

    >>> keys = jax.vmap(jax.random.key)(jnp.arange(4))
    >>> init = jax.jit(jax.vmap(search.init, in_axes=(0, None)))
    >>> epoch = jax.jit(
    ...     jax.vmap(search.epoch, in_axes=(0, None, None)),
    ...     compiler_options=search.compiler_options,
    ... )
    >>> states = init(keys, search.hyperparams)
    >>> for _ in range(config.epochs):
    ...     states, result = epoch(states, data, search.hyperparams)
    >>> result.evaluation.accuracy.shape
    (4,)

    The cell of the first, which has six edges:

    >>> mixings = jax.vmap(search.incumbent)(states)
    >>> cell = search.derive(jax.tree.map(lambda leaf: leaf[0], mixings))
    >>> cell.format().count("~")
    6

    Members have hyperparameters of their own where these are stacked along a first
    axis, and `in_axes` is 0 for them. Members share the split of the data, which
    `search_data` takes from `config.seed`; runs with other seeds would split otherwise.

    A search has the digests of `run_search` bit for bit, on the same backend, if
    `init` is called with `config.seed` and without `jax.jit`, and `epoch` is compiled
    with `compiler_options` for one search. A batch, and a compiled `init`, agree to
    rounding.

    Args:
      config: of the search. Its seed is not used: the key is an argument of `init`.
      image_shape: (H, W, C) of the images.
      num_classes: logits of the supernet; labels are below it.

    Returns:
      The functions, and the hyperparameters of the configuration.

    Raises:
      ValueError: the method searches in stages, or the configuration asks for several
        devices or for a watch; the images or the number of classes do not fit.
    """
    _check_one_program(config)
    check_images(config, image_shape)
    supernet = dataclasses.replace(config.supernet, num_classes=num_classes)
    config = dataclasses.replace(config, supernet=supernet)
    config = with_limit_of(config, limit_of_run(config, image_shape))
    net = make_supernet(supernet)
    problem = search_problem(config, net, image_shape)
    hyperparams = search_hyperparams(config, problem.strategy)
    return make_functions(problem, tuple(image_shape), hyperparams)


def _check_one_program(config: SearchConfig) -> None:
    """Refuses what the host does between epochs, and what needs a mesh."""
    if planned_stages(config):
        raise ValueError(
            f"make_search got the strategy {config.strategy_name}, which searches in "
            f"stages with a supernet for each. It takes methods with one supernet. Use "
            f"run_search for this one."
        )
    if config.watch.eigenvalue != "off":
        raise ValueError(
            f"make_search got watch.eigenvalue={config.watch.eigenvalue}, but the host "
            f"computes the eigenvalue between epochs. Set watch.eigenvalue=off, or use "
            f"run_search."
        )
    if config.devices not in (None, 1):
        raise ValueError(
            f"make_search got devices={config.devices}, but its functions compute on "
            f"one device. Set devices to none or 1, or use run_search."
        )
    if config.shards not in (None, 1):
        raise ValueError(
            f"make_search got shards={config.shards}, but its functions divide no "
            f"batch. Set shards to none or 1, or use run_search."
        )
