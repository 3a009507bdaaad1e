"""Scores many cells of a space by proxies, each proxy in one compiled program.

Every cell is a one-hot mixing of one supernet, and has weights of its own: those that
the supernet draws from the cell's key. A score therefore depends neither on the other
cells nor on the chunks. One program for several proxies would be slower: XLA finds no
equal passes to share, and it takes longer to compile than the programs of each.

Dims: P cells, N images.
"""

import functools
from collections.abc import Sequence

import jax

from egnas_jax.nn import lowering
from egnas_jax.nn.supernet import Supernet
from egnas_jax.proxies.activation import normal_kernels
from egnas_jax.proxies.memory import cells_at_a_time
from egnas_jax.proxies.network import ProxyNetwork, check_space, of_mixing
from egnas_jax.proxies.table import PROXIES, check_images
from egnas_jax.training.chunks import map_in_chunks
from egnas_jax.types import Array, Batch, Key, Mixing, PyTree


def score(
    names: Sequence[str],
    network: ProxyNetwork,
    variables: PyTree,
    batch: Batch,
    key: Key,
) -> dict[str, Array]:
    """Scores one network by several proxies.

    Args:
      names: keys of `PROXIES`.
      network: result of `of_network` or `of_mixing`.
      variables: its initial variables.
      batch: f32[N, H, W, C] normalised, and labels i32[N].
      key: of zen's kernels and noise.

    Returns:
      name -> f32[]; larger is better.

    Raises:
      ValueError: an unknown name, or fewer images than a proxy needs.
    """
    key_kernels, key_noise = jax.random.split(key)
    scores = {}
    for name in names:
        check_images(name, len(batch.images), "The number of images")
        proxy, used = PROXIES[name], variables
        if "normal" in proxy.needs:
            used = normal_kernels(key_kernels, variables)
        scores[name] = proxy.score(network, used, batch, key_noise)
    return scores


def score_cells(
    names: Sequence[str],
    net: Supernet,
    mixings: Mixing,
    batch: Batch,
    keys: Key,
    *,
    at_a_time: int | None = None,
) -> dict[str, Array]:
    """Scores P cells of a space by several proxies.

    Args:
      names: keys of `PROXIES`.
      net: the supernet, which gives the cells their frame and their weights.
      mixings: one-hot rows; leaves [P, E, K] and [P, E].
      batch: f32[N, H, W, C] normalised, and labels i32[N].
      keys: of each cell's weights, [P].
      at_a_time: cells that are vectorised; None: as `memory.cells_at_a_time` chooses
        for each proxy. It changes the scores by rounding alone.

    Returns:
      name -> f32[P]; larger is better.

    Raises:
      ValueError: an unknown name, fewer images than a proxy needs, or a space that the
        proxies cannot read.
    """
    for name in names:
        check_images(name, len(batch.images), "The number of images")
    check_space(net.config.space)
    number, image_shape = len(keys), batch.images.shape[1:]
    scores = {}
    for name in names:
        size = at_a_time or cells_at_a_time(
            name, net.config, image_shape, len(batch.images), number
        )
        run = _compiled(name, net, size, image_shape)
        scores[name] = run(mixings, batch, keys)
    return scores


@functools.cache
def _compiled(name, net, at_a_time, image_shape):
    def one(mixing: Mixing, key: Key, batch: Batch) -> Array:
        key_weights, key_score = jax.random.split(key)
        variables = net.init(key_weights, image_shape)
        network = of_mixing(net, mixing)
        return score([name], network, variables, batch, key_score)[name]

    def run(mixings: Mixing, batch: Batch, keys: Key) -> Array:
        def of_cell(cell: tuple[Mixing, Key]) -> Array:
            return one(*cell, batch)

        return map_in_chunks(of_cell, (mixings, keys), at_a_time)

    return jax.jit(run, compiler_options=lowering.compiler_options(image_shape[:2]))
