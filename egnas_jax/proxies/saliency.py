"""Proxies that sum a saliency of kernels: l2_norm, grad_norm, snip, grasp, synflow.

All sum over the kernels of convolutions and of the classifier, as Abdelfattah et al.
do: scales, shifts and biases do not count. A layer is one convolution of one edge of
one cell. Larger is better.

Source: Abdelfattah et al., Zero-Cost Proxies for Lightweight NAS (ICLR 2021); SNIP, Lee
et al. (ICLR 2019); GraSP, Wang et al. (ICLR 2020); SynFlow, Tanaka et al. (NeurIPS
2020).

Dims: E edges of a layer.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from egnas_jax.nn import intermediates
from egnas_jax.proxies.network import (
    ProxyNetwork,
    kernels_of,
    loss_of_kernels,
    run_with,
    without_norms,
)
from egnas_jax.types import Array, Batch, Key, PyTree

# Powers of two by which SynFlow's input and output are divided. The flow through the
# deepest cell of the benchmark's network would not fit a float32 otherwise.
INPUT_BITS, OUTPUT_BITS = 48, 32


def l2_norm(network: ProxyNetwork, variables: PyTree, batch: Batch, key: Key) -> Array:
    """Sum over layers of the Euclidean norm of the kernel, f32[].

    It takes no gradient, and the images give it no more than their shape.
    """
    del key
    layers = kernels_of(network, variables, batch.images[:1], train=True)
    return sum(jnp.sum(one.weights * _norms(one.value)) for one in layers)


def grad_norm(
    network: ProxyNetwork, variables: PyTree, batch: Batch, key: Key
) -> Array:
    """Sum over layers of the Euclidean norm of the loss's gradient, f32[].

    The loss is the mean cross entropy, and norms use the batch's statistics.
    """
    del key
    _, gradients = _kernels_and_gradients(network, variables, batch)
    return sum(jnp.sum(_norms(gradient)) for gradient in gradients)


def snip(network: ProxyNetwork, variables: PyTree, batch: Batch, key: Key) -> Array:
    """Sum of |weight * gradient of the loss|, f32[]; loss and norms: see `grad_norm`.

    Lee et al. divide by this sum, which would make every score 1.
    """
    del key
    kernels, gradients = _kernels_and_gradients(network, variables, batch)
    return _total(jax.tree.map(lambda w, g: jnp.abs(w * g), kernels, gradients))


def grasp(network: ProxyNetwork, variables: PyTree, batch: Batch, key: Key) -> Array:
    """-sum of weight * (H g), f32[], with the Hessian H and gradient g of the loss.

    Loss and norms are those of `grad_norm`. Wang et al. divide the logits by 200 and
    take two batches; Abdelfattah et al. do neither, and neither does this.
    """
    del key
    kernels = _values(kernels_of(network, variables, batch.images, train=True))
    gradient_of = jax.grad(loss_of_kernels(network, variables, batch))

    def squared_norm(kernels: Sequence[Array]) -> Array:
        gradients = gradient_of(kernels)
        fixed = jax.tree.map(lax.stop_gradient, gradients)
        return _total(jax.tree.map(jnp.multiply, gradients, fixed))

    products = jax.grad(squared_norm)(kernels)
    return -_total(jax.tree.map(jnp.multiply, kernels, products))


def synflow(network: ProxyNetwork, variables: PyTree, batch: Batch, key: Key) -> Array:
    """Logarithm of the sum of weight * gradient of the flow, f32[]; -inf without flow.

    The flow is the sum of the logits of one image of ones, where every weight is
    replaced by its absolute value. Norms are left out, as Abdelfattah et al. do, and
    biases, which do not change the gradients. The logarithm keeps the ranks.
    """
    del key
    variables = without_norms(variables)
    ones = jnp.full_like(batch.images[:1], 2.0**-INPUT_BITS)
    kernels = [
        jnp.abs(one)
        for one in _values(kernels_of(network, variables, ones, train=False))
    ]

    def flow(kernels: Sequence[Array]) -> Array:
        logits = run_with(
            network,
            variables,
            ones,
            train=False,
            replace=lambda one, kernel: kernel,
            arrays={intermediates.KERNEL: kernels},
        )
        return jnp.sum(logits) * 2.0**-OUTPUT_BITS

    products = jax.tree.map(jnp.multiply, kernels, jax.grad(flow)(kernels))
    return jnp.log(_total(products)) + (INPUT_BITS + OUTPUT_BITS) * math.log(2)


def _kernels_and_gradients(network, variables, batch) -> tuple[list, list]:
    kernels = _values(kernels_of(network, variables, batch.images, train=True))
    return kernels, jax.grad(loss_of_kernels(network, variables, batch))(kernels)


def _values(layers) -> list[Array]:
    return [one.value for one in layers]


def _norms(kernel: Array) -> Array:
    """Euclidean norm of each edge's kernel, [E]."""
    return jnp.sqrt(jnp.sum(kernel.reshape(len(kernel), -1) ** 2, axis=1))


def _total(arrays) -> Array:
    return sum(jnp.sum(array) for array in arrays)
