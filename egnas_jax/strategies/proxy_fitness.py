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
from jax import lax

from egnas_jax.idle import Idle
from egnas_jax.lookup import lookup
from egnas_jax.nn.supernet import Supernet
from egnas_jax.proxies import PROXIES, of_mixing, score
from egnas_jax.proxies.network import check_space
from egnas_jax.proxies.table import check_images
from egnas_jax.search.evaluate import EvaluationSettings, score_batch
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


def check_fitness(fitness: str, others: Sequence[str], images: int) -> None:
    """Refuses a fitness that is neither one of `others` nor a proxy.

    Args:
      fitness: of the method.
      others: those of trained weights.
      images: on which a cell is evaluated.

    Raises:
      ValueError: it is neither, or a proxy that so few images do not serve.
    """
    name = proxy_of(fitness)
    if name is not None:
        check_images(name, images, "strategy.fitness_batch_size")
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
    net: Supernet, fitness: str, variables: PyTree, batch: Batch, key: Key
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
    """
    name = proxy_of(fitness)
    own_key = jax.random.fold_in(key, STREAM)

    def one(mixing: Mixing) -> Array:
        network = of_mixing(net, mixing)
        return jnp.float32(score([name], network, variables, batch, own_key)[name])

    def evaluate(mixings: Mixing) -> Evaluation:
        # one after another: kernels of many cells would make grouped convolutions
        scores = lax.map(one, mixings)
        lower = jnp.sum(scores[None, :] < scores[:, None], axis=1, dtype=jnp.int32)
        unknown = jnp.full_like(scores, jnp.inf)
        return Evaluation(loss=-scores, correct=1 + lower, accuracy=unknown)

    return evaluate


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
        return make_proxy_evaluate(net, settings.fitness, variables, batch, key)
    return lambda mixings: score_batch(net, variables, mixings, batch, settings)


def images_of_cell(fitness: str, images: int) -> int:
    """Returns the forward passes of one image that the fitness of a cell takes.

    Args:
      fitness: of the method.
      images: on which a cell is evaluated.
    """
    name = proxy_of(fitness)
    return images if name is None else PROXIES[name].forward_passes(images)
