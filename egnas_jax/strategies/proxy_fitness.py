"""Ranks cells under trained weights, or by a zero-cost proxy instead.

With `strategy.fitness=proxy:NAME` a method scores the one-hot cells in the frame of its
supernet, whose weights stay as they were initialised: no epoch has weight steps. All
cells of an update are scored with the same initial weights and the same images, so that
a cell has one score in it, whatever stands beside it.

Source: Abdelfattah et al., Zero-Cost Proxies for Lightweight NAS (ICLR 2021), section
4: a search whose fitness is a proxy.

Dims: P cells.
"""

import zlib
from collections.abc import Callable, Sequence
from typing import Protocol

import jax
import jax.numpy as jnp

from egnas_jax.idle import Idle
from egnas_jax.lookup import lookup
from egnas_jax.nn.supernet import Supernet, SupernetConfig
from egnas_jax.proxies import PROXIES, of_mixing, score
from egnas_jax.proxies.memory import cells_at_a_time
from egnas_jax.proxies.network import check_space
from egnas_jax.proxies.ranks import lower_scores
from egnas_jax.proxies.table import check_images
from egnas_jax.search.evaluate import EvaluationSettings, score_batch
from egnas_jax.training.chunks import map_in_chunks
from egnas_jax.training.out_of_memory import free_bytes
from egnas_jax.training.processes import min_over_processes
from egnas_jax.types import Array, Batch, Evaluation, Key, Mixing, PyTree

PREFIX = "proxy:"
BY_PROXY = Idle("fitness", tuple(PREFIX + name for name in PROXIES))
# Fields of a configuration that only an evaluation under trained weights reads. A
# proxy decides itself what norms use, and sees all images at once.
IDLE = {"batch_stats": BY_PROXY, "image_chunk": BY_PROXY}
STREAM = zlib.crc32(b"proxy")  # a child of the key that no split has


def proxy_of(fitness: str) -> str | None:
    """Returns the proxy that a fitness names, or None for one of trained weights.

    Raises:
      ValueError: there is no proxy of that name.
    """
    if not fitness.startswith(PREFIX):
        return None
    return lookup(PROXIES, fitness.removeprefix(PREFIX), "proxy").name


def check_fitness(
    fitness: str,
    others: Sequence[str],
    images: int,
    setting: str = "fitness_batch_size",
) -> None:
    """Refuses a fitness that is neither one of `others` nor a proxy.

    Args:
      fitness: of the method.
      others: those of trained weights.
      images: on which a cell is evaluated.
      setting: of the strategy, which decides their number.

    Raises:
      ValueError: it is neither, or a proxy that so few images do not serve.
    """
    name = proxy_of(fitness)
    if name is not None:
        check_images(name, images, f"strategy.{setting}")
    elif fitness not in others:
        raise ValueError(
            f"strategy.fitness is {fitness!r}, but must be {', '.join(others)}, or "
            f"{PREFIX}NAME with NAME of {', '.join(PROXIES)}."
        )


def check_proxy_space(fitness: str, net: Supernet) -> None:
    """Refuses a proxy in a space whose layers it cannot read.

    Raises:
      ValueError: the space has primitives without layers of our own.
    """
    if proxy_of(fitness) is not None:
        check_space(net.config.space)


def make_proxy_evaluate(
    net: Supernet,
    fitness: str,
    variables: PyTree,
    batch: Batch,
    key: Key,
    *,
    population_chunk: int | None = None,
) -> Callable[[Mixing], Evaluation]:
    """Returns a function that evaluates one-hot cells, leaves [P, ...], by a proxy.

    Of its result, `loss` is the negative score. `correct` is 1 and the number of cells
    with a lower score, so that it compares cells as counts of correct answers do.
    `accuracy` is infinite, which a record holds as a missing number.

    Args:
      net, variables: the supernet and its weights.
      fitness: names the proxy.
      batch: images and labels on which all cells are scored.
      key: of an update; the proxy's own random numbers descend from it.
      population_chunk: cells that are scored at a time; None: as
        `default_population_chunk` chooses. It changes scores by rounding alone.
    """
    name = proxy_of(fitness)
    own_key = jax.random.fold_in(key, STREAM)

    def one(mixing: Mixing) -> Array:
        network = of_mixing(net, mixing)
        return jnp.float32(score([name], network, variables, batch, own_key)[name])

    def evaluate(mixings: Mixing) -> Evaluation:
        number = len(jax.tree.leaves(mixings.edges)[0])
        size = population_chunk or default_population_chunk(
            net.config, fitness, batch.images.shape, number
        )
        # The cells share the weights, so that kernels of forward passes have no axis of
        # cells even where many cells are scored at a time.
        scores = map_in_chunks(one, mixings, size)
        unknown = jnp.full_like(scores, jnp.inf)
        correct = 1 + lower_scores(scores)
        return Evaluation(loss=-scores, correct=correct, accuracy=unknown)

    return evaluate


def default_population_chunk(
    config: SupernetConfig, fitness: str, shape: tuple[int, ...], cells: int
) -> int:
    """Returns how many cells a proxy scores at a time by default.

    All processes get the same number, since they must compile the same program.

    Args:
      config: of the supernet.
      fitness: names the proxy.
      shape: (N, H, W, C) of the images.
      cells: P.
    """
    return cells_at_a_time(
        proxy_of(fitness),
        config,
        shape[1:],
        shape[0],
        cells,
        free_bytes=lambda: min_over_processes(free_bytes()),
    )


class FitnessSettings(EvaluationSettings, Protocol):
    """What a method's configuration says of the fitness of its cells.

    Attributes:
      fitness: names a proxy, or a metric of trained weights.
    """

    @property
    def fitness(self) -> str: ...


def make_cell_evaluate(
    net: Supernet, settings: FitnessSettings, variables: PyTree, batch: Batch, key: Key
) -> Callable[[Mixing], Evaluation]:
    """Returns a function that evaluates cells, leaves [P, ...], by a method's fitness.

    Args:
      net, variables: the supernet and its weights.
      settings: of the method; `fitness` decides between the weights and a proxy.
      batch: images and labels on which all cells are evaluated.
      key: of an update; the proxy's own random numbers descend from it.
    """
    if proxy_of(settings.fitness) is not None:
        chunk = settings.population_chunk
        arguments = net, settings.fitness, variables, batch, key
        return make_proxy_evaluate(*arguments, population_chunk=chunk)
    return lambda mixings: score_batch(net, variables, mixings, batch, settings)


def images_of_cell(fitness: str, images: int) -> int:
    """Returns the forward passes of one image that the fitness of a cell takes.

    Args:
      fitness: of the method.
      images: on which a cell is evaluated.
    """
    name = proxy_of(fitness)
    return images if name is None else PROXIES[name].forward_passes(images)
