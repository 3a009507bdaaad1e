"""Proxies that look at sizes alone: weights and multiply-adds.

Both count a cell's own layers, and equal `nn.network_cost` for the derived network.

Source: Abdelfattah et al., Zero-Cost Proxies for Lightweight NAS (ICLR 2021), whose
tables have both as baselines.
"""

import jax.numpy as jnp

from egnas_jax.nn import intermediates
from egnas_jax.proxies.network import ProxyNetwork, read_intermediates
from egnas_jax.types import Array, Batch, Key, PyTree


def params(network: ProxyNetwork, variables: PyTree, batch: Batch, key: Key) -> Array:
    """Number of weights f32[]: kernels, scales and shifts of norms, the bias.

    The norms of a supernet have no scale and shift, but count as those of the derived
    network, which have them.
    """
    del key
    total = jnp.float32(0)
    for one in read_intermediates(network, variables, batch.images[:1], train=True):
        if one.site == intermediates.KERNEL:
            total += jnp.sum(one.weights) * one.value[0].size
        if one.site == intermediates.VARIANCE:
            total += jnp.sum(one.weights) * 2 * one.value[0].size
    return total + variables["params"]["classifier"]["bias"].size


def multiply_adds(
    network: ProxyNetwork, variables: PyTree, batch: Batch, key: Key
) -> Array:
    """Multiply-adds f32[] of one image, counted as `nn.cost` counts them."""
    del key
    total = jnp.float32(0)
    for one in read_intermediates(network, variables, batch.images[:1], train=True):
        if one.site == intermediates.KERNEL:
            total += jnp.sum(one.weights) * one.value[0].size * one.pixels
    return total
