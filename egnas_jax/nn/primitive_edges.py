"""Turns functions for one edge into a kernel for all edges of a state, and back.

A primitive of a user's own is written for one edge; `kernel_from_functions` batches it
over edges by `jax.vmap`, with parameters for each edge. The built-in primitives are
written as kernels; `functions_of_kernel` gives them the functions of a user's own.

Dims: E edges, C channels, H, W sides, N images.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from egnas_jax.nn import lowering
from egnas_jax.nn.drawing_keys import of_share
from egnas_jax.nn.init import draw, drawn_leaves
from egnas_jax.nn.layers import Affine, init_batch_norm, lazy_batch_norm
from egnas_jax.nn.primitive import (
    EdgeKernel,
    Primitive,
    PrimitiveApply,
    PrimitiveInit,
    source_of,
)
from egnas_jax.nn.primitive_check import OneEdge, described, run
from egnas_jax.nn.sync_batch_norm import IMAGES, num_shares
from egnas_jax.types import Array, Key, PyTree


def kernel_from_functions(primitive: Primitive) -> EdgeKernel:
    """The kernel of a primitive that has none of its own.

    `affine` is not passed on: the norms of a user's primitive are as he wrote them, in
    the supernet and in derived networks.
    """

    def init(edges, channels, stride, affine):
        del affine
        shapes = described(primitive, channels, stride)
        one = OneEdge(primitive.init, channels, stride)
        return drawn_leaves(one, shapes, edges)

    def apply(params, stats, source, *, stride, train, kernels, keys=None):
        del kernels
        x = _images_first(source.raw[0])
        gathers = train and bool(jax.tree.leaves(stats)) and num_shares() > 1
        if gathers:  # the statistics are those of the whole batch, as on one device
            x = lax.all_gather(x, IMAGES, axis=0, tiled=True)
        elif keys is not None:
            keys = jax.vmap(of_share)(keys)

        def edge(params, stats, key):
            options = {"stride": stride, "train": train, "key": key}
            return run(primitive, params, stats, x, **options)

        variables = params, stats, keys
        if jax.tree.leaves(variables):
            y, new_stats = jax.vmap(edge)(*variables)
        else:
            y, new_stats = jax.tree.map(lambda leaf: leaf[None], edge(*variables))
        if gathers:
            images = source.raw.shape[-1]
            start = lax.axis_index(IMAGES) * images
            y = lax.dynamic_slice_in_dim(y, start, images, axis=1)
        return Affine(_images_last(y)), new_stats if train else stats

    return EdgeKernel(init, apply, draws=primitive.draws)


def _images_first(x: Array) -> Array:
    """[..., C, H, W, N] -> [..., N, H, W, C]."""
    return jnp.swapaxes(x, -4, -1)


def _images_last(x: Array) -> Array:
    """[..., N, H, W, C] -> [..., C, H, W, N]."""
    return jnp.swapaxes(x, -4, -1)


def functions_of_kernel(
    kernel: EdgeKernel, implementation: str = "auto"
) -> tuple[PrimitiveInit, PrimitiveApply]:
    """`init` and `apply` of a primitive that is written as a kernel, for one edge.

    Its norms have a scale and a shift.

    Args:
      kernel: of the primitive.
      implementation: a key of `lowering.CHOICES`.
    """

    def init(key: Key, channels: int, stride: int) -> tuple[PyTree, PyTree]:
        params, stats = kernel.init(1, channels, stride, True)
        variables = draw(key, {"params": params, "batch_stats": stats})
        variables = jax.tree.map(lambda leaf: leaf[0], variables)
        return variables["params"], variables["batch_stats"]

    def apply(
        params: PyTree, batch_stats: PyTree, x: Array, stride: int, train: bool
    ) -> tuple[Array, PyTree]:
        variables = jax.tree.map(lambda leaf: leaf[None], (params, batch_stats))
        output, new_stats = kernel.apply(
            *variables,
            source_of(_images_last(x)[None]),
            stride=stride,
            train=train,
            kernels=lowering.kernels_for(implementation, train, x.shape[-1]),
        )
        y = _images_first(output.value()[0])
        return y, jax.tree.map(lambda leaf: leaf[0], new_stats)

    return init, apply


def with_norm(kernel: EdgeKernel) -> EdgeKernel:
    """The kernel of a pooling with a norm behind it (`pool_bn`).

    The edges share one norm where all of them pool the same pixels: where the pooling
    has no variables.
    """

    def init(edges, channels, stride, affine):
        inner = kernel.init(edges, channels, stride, affine)
        norms = edges if any(inner) else 1
        norm, stats = init_batch_norm(norms, channels, affine)
        return _joined(inner[0], norm), _joined(inner[1], stats)

    def apply(params, stats, source, **options: Any):
        inner = (tree.get("pool", {}) for tree in (params, stats))
        output, pool_stats = kernel.apply(*inner, source, **options)
        y, norm_stats = lazy_batch_norm(
            params["norm"], stats["norm"], output.value(), options["train"]
        )
        return y, _joined(pool_stats, norm_stats)

    return kernel._replace(init=init, apply=apply, fused=None)


def _joined(pool, norm):
    return {"pool": pool, "norm": norm} if pool else {"norm": norm}
