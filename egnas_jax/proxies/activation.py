"""Proxies that look at activations: fisher, jacov, naswot, zen.

Norms use the batch's statistics in all of them. Larger is better.

Source: Fisher pruning, Theis et al. (2018), as a proxy Turner et al. (ICLR 2020);
jacob_cov and NASWOT, Mellor et al., Neural Architecture Search without Training (first
version of the preprint, 2020; ICML 2021); Zen-NAS, Lin et al. (ICCV 2021).

Dims: E edges of a layer, C channels, H, W sides, N images.
"""

import jax
import jax.numpy as jnp

from egnas_jax.nn import intermediates
from egnas_jax.nn.intermediates import Intermediate
from egnas_jax.nn.layers import EPSILON
from egnas_jax.proxies.network import (
    ProxyNetwork,
    mean_cross_entropy,
    read_intermediates,
    run_with,
)
from egnas_jax.types import Array, Batch, Key, PyTree

JACOV_SHIFT = 1e-5  # added to the eigenvalues, by Mellor et al.
ZEN_SHARE = 1e-2  # of the second noise that zen adds to the first, by Lin et al.


def fisher(network: ProxyNetwork, variables: PyTree, batch: Batch, key: Key) -> Array:
    """Sum over channels of 1/2 mean over images (sum over pixels a dL/da)^2, f32[].

    `a` is the output of a convolution before its norm, or a logit, and L the mean cross
    entropy. Abdelfattah et al. take these outputs, too. A depthwise and a pointwise
    convolution are one layer here.
    """
    del key
    readings = read_intermediates(network, variables, batch.images, train=True)
    outputs = [one.value for one in readings if one.site == intermediates.OUTPUT]

    def loss(factors: list[Array]) -> Array:
        logits = run_with(
            network,
            variables,
            batch.images,
            train=True,
            replace=lambda one, factor: one.value * factor[:, :, None, None],
            arrays={intermediates.OUTPUT: factors},
        )
        return mean_cross_entropy(logits, batch.labels)

    # the gradient with respect to a factor of each image's channel is sum of a dL/da
    factors = [jnp.ones((*y.shape[:2], y.shape[-1])) for y in outputs]
    sums = jax.grad(loss)(factors)
    return sum(0.5 * jnp.sum(jnp.mean(one**2, axis=-1)) for one in sums)


def jacov(network: ProxyNetwork, variables: PyTree, batch: Batch, key: Key) -> Array:
    """-sum of log(v + k) + 1 / (v + k) over eigenvalues v, f32[]; k is `JACOV_SHIFT`.

    They are those of the correlation matrix of N gradients: of the sum of all logits
    with respect to each image. NaN where a gradient is constant.
    """
    del key

    def total(images: Array) -> Array:
        return jnp.sum(network.logits(variables, images, True))

    gradients = jax.grad(total)(batch.images).reshape(len(batch.images), -1)
    centred = gradients - jnp.mean(gradients, axis=1, keepdims=True)
    lengths = jnp.sqrt(jnp.sum(centred**2, axis=1, keepdims=True))
    centred = centred / lengths  # 0 / 0 is NaN
    values = jnp.linalg.eigvalsh(centred @ centred.T)
    shifted = jnp.maximum(values, 0.0) + JACOV_SHIFT  # rounding makes some negative
    return -jnp.sum(jnp.log(shifted) + 1.0 / shifted)


def naswot(network: ProxyNetwork, variables: PyTree, batch: Batch, key: Key) -> Array:
    """Logarithm of the determinant of K, f32[].

    K[n, m] is the number of ReLU units that are on for both images or off for both.
    Every ReLU in front of a layer counts, as often as layers read it. -inf where two
    images have equal codes.
    """
    del key
    readings = read_intermediates(network, variables, batch.images, train=True)
    kernel = sum(_agreements(one) for one in readings if one.site == intermediates.RELU)
    return jnp.linalg.slogdet(kernel)[1]


def _agreements(one: Intermediate) -> Array:
    """Number of units of a ReLU that agree for two images, f32[N, N]."""
    weights = one.weights
    if len(one.value) == 1:  # all edges read it
        weights = jnp.sum(weights)[None]
    images = one.value.shape[-1]
    on = (one.value > 0).astype(jnp.float32).reshape(len(weights), -1, images)
    both = jnp.einsum("eun,eum->enm", on, on) + jnp.einsum(
        "eun,eum->enm", 1.0 - on, 1.0 - on
    )
    return jnp.sum(weights[:, None, None] * both, axis=0)


def zen(network: ProxyNetwork, variables: PyTree, batch: Batch, key: Key) -> Array:
    """log of a change of features, plus logs of the norms' deviations, f32[].

    The change is the mean over images of sum |f(x) - f(x + 0.01 e)|, where f are the
    features before the global average, and x and e are standard normal noise of the
    batch's shape. Every norm adds log sqrt(mean over channels of variance + 1e-5) of x;
    the small number, the norm's own, keeps a norm of zeros finite. Kernels must be
    standard normal (`normal_kernels`). Lin et al. define the score for chains of
    layers; for a cell with branches this is their formula, not their theorem.
    """
    key_first, key_second = jax.random.split(key)
    first = jax.random.normal(key_first, batch.images.shape)
    second = jax.random.normal(key_second, batch.images.shape)
    readings = read_intermediates(network, variables, first, train=True)
    other = read_intermediates(
        network, variables, first + ZEN_SHARE * second, train=True
    )
    before, after = (
        next(one.value for one in group if one.site == intermediates.FEATURES)
        for group in (readings, other)
    )
    change = jnp.sum(jnp.abs(before - after)) / len(batch.images)
    deviations = sum(
        jnp.sum(one.weights * 0.5 * jnp.log(jnp.mean(one.value, axis=1) + EPSILON))
        for one in readings
        if one.site == intermediates.VARIANCE
    )
    return jnp.log(change) + deviations


def normal_kernels(key: Key, variables: PyTree) -> PyTree:
    """Variables with standard normal kernels; norms and biases are left alone."""
    leaves, structure = jax.tree.flatten_with_path(variables["params"])
    drawn = [
        leaf
        if path[-1].key in ("scale", "bias")
        else jax.random.normal(jax.random.fold_in(key, index), leaf.shape)
        for index, (path, leaf) in enumerate(leaves)
    ]
    return variables | {"params": jax.tree.unflatten(structure, drawn)}
