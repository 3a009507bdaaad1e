"""Draws cells without a search, and widths at which cells have as many weights."""

import bisect
import dataclasses
import functools

import jax
import numpy as np

from egnas_jax import Genotype, Mixing, NetworkConfig, count_params, derive
from egnas_jax.search.relax import softmax_mixing
from egnas_jax.space import SPACES
from egnas_jax.strategies.egnas.state import state_without_evolutions
from egnas_jax.strategies.random_search import random_child

CHANNELS = range(2, 257)  # widths that are tried


def random_genotype(seed: int) -> Genotype:
    """A cell drawn as random search draws its children."""
    return _derived(random_child(jax.random.key(seed), SPACES["darts7"]))


@functools.cache
def largest_genotype(seed: int, number: int) -> Genotype:
    """The cell with the most weights among random cells, in CIFAR-10's full network.

    Args:
      seed: of the cells.
      number: of the cells.
    """
    keys = jax.random.split(jax.random.key(seed), number)
    children = jax.vmap(lambda key: random_child(key, SPACES["darts7"]))(keys)
    children = jax.tree.map(np.asarray, children)
    cells = [
        derive(SPACES["darts7"], jax.tree.map(lambda rows, i=i: rows[i], children))
        for i in range(number)
    ]
    return max(cells, key=lambda cell: count_params(cell, NetworkConfig()))


def initial_genotype(seed: int) -> Genotype:
    """The cell that EG-NAS would derive before its first update of alpha."""
    state = state_without_evolutions(SPACES["darts7"], jax.random.key(seed))
    return _derived(softmax_mixing(state.alpha))


def _derived(mixing: Mixing) -> Genotype:
    return derive(SPACES["darts7"], jax.tree.map(np.asarray, mixing))


@functools.cache
def equal_channels(
    genotype: Genotype, network: NetworkConfig, image_channels: int, target: int
) -> int:
    """Channels of the first cell that bring a network nearest to `target` weights.

    Args:
      genotype: the cells.
      network: the network; its channels are ignored.
      image_channels: of the images.
      target: number of weights.
    """

    def weights(channels: int) -> int:
        config = dataclasses.replace(network, channels=channels)
        return count_params(genotype, config, image_channels=image_channels)

    # a wider network has more weights, so that few widths need be tried
    above = bisect.bisect_left(CHANNELS, target, key=weights)
    near = CHANNELS[max(above - 1, 0) : above + 1]
    return min(near, key=lambda channels: abs(weights(channels) - target))
