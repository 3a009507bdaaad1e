"""Computes 1x1 and full convolutions, and broadcasts a state to its edges.

Dims: E edges, C input channels, O output channels, H, W height and width, N images.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from egnas_jax.nn.lowering.barriers import materialise
from egnas_jax.nn.lowering.forward_mode import differentiable
from egnas_jax.nn.precision import wide, wide_einsum
from egnas_jax.types import Array


def pointwise(x: Array, kernel: Array) -> Array:
    """1x1 convolution of every edge: x [E, C, H, W, N], kernel [E, O, C].

    The products have the dtype of `x`, and XLA accumulates them in float32. The
    gradients are those of autodiff, except that the kernel's is multiplied in the other
    order, which XLA's CPU kernels do up to six times faster.
    """
    return differentiable(_pointwise, _multiply)(x, kernel)


def _multiply(x, kernel):
    out = jnp.einsum("eoc,ecm->eom", kernel.astype(x.dtype), _flat(x))
    return materialise(out.reshape(*out.shape[:2], *x.shape[2:]))


_pointwise = jax.custom_vjp(_multiply)


def _pointwise_forward(x, kernel):
    return pointwise(x, kernel), (x, kernel)


def _pointwise_backward(residuals, cotangent):
    x, kernel = residuals
    kernel_gradient = wide_einsum("eom,ecm->eco", _flat(cotangent), _flat(x))
    kernel_gradient = kernel_gradient.swapaxes(1, 2).astype(kernel.dtype)
    return pointwise(cotangent, kernel.swapaxes(1, 2)), kernel_gradient


_pointwise.defvjp(_pointwise_forward, _pointwise_backward)


def _flat(x: Array) -> Array:
    """[E, C, H, W, N] as [E, C, H * W * N]."""
    return x.reshape(*x.shape[:2], -1)


def broadcast_edges(x: Array, edges: int) -> Array:
    """Broadcasts [1, ...] to [E, ...]; returns [E, ...] unchanged.

    The gradient adds the edges one after another: a sum over a stacked axis of edges
    takes up to a hundred times as long on a CPU.
    """
    return differentiable(_broadcast_edges, _broadcast)(x, edges)


def _broadcast(x, edges):
    return jnp.broadcast_to(x, (edges, *x.shape[1:]))


_broadcast_edges = jax.custom_vjp(_broadcast, nondiff_argnums=(1,))


def _broadcast_edges_forward(x, edges):
    return broadcast_edges(x, edges), len(x)


def _broadcast_edges_backward(edges, edges_before, cotangent):
    if edges_before == edges:
        return (cotangent,)
    total = functools.reduce(jnp.add, wide(cotangent))
    return (materialise(total.astype(cotangent.dtype))[None],)


_broadcast_edges.defvjp(_broadcast_edges_forward, _broadcast_edges_backward)


def convolve(
    x: Array, kernel: Array, strides: tuple[int, int], padding: tuple[int, int]
) -> Array:
    """Convolution by the operation that is fast on the default backend.

    Args:
      x: [C, H, W, N].
      kernel: [O, C, TH, TW].
      strides: strides of H and W.
      padding: zeros on either side of H and of W.

    Returns:
      [O, H', W', N].
    """
    if jax.default_backend() == "cpu":
        return _convolve_by_product(x, kernel, strides, padding)
    return convolution(x, kernel, strides, padding)


@functools.partial(jax.checkpoint, static_argnums=(2, 3))
def _convolve_by_product(x, kernel, strides, padding):
    """Convolution as one matrix product over the stacked taps of all windows.

    XLA's CPU backend compiles a convolution inside a loop to plain loops, and the
    convolutions of a search stand in one; they would be 10 to 80 times slower
    (benchmarks/README.md). The stacked taps are rematerialised for the gradient.
    """
    outputs, channels, *window = kernel.shape
    sides = [(0, 0, 0), *((width, width, 0) for width in padding), (0, 0, 0)]
    padded = lax.pad(x, jnp.zeros((), x.dtype), sides)
    ends = [
        side - reach + 1 for side, reach in zip(padded.shape[1:3], window, strict=True)
    ]
    taps = [
        lax.slice(
            padded,
            (0, i, j, 0),
            (channels, i + ends[0], j + ends[1], x.shape[-1]),
            (1, *strides, 1),
        )
        for i in range(window[0])
        for j in range(window[1])
    ]
    stacked = materialise(jnp.stack(taps, axis=1))  # [C, TH * TW, H', W', N]
    rows = stacked.reshape(1, -1, *stacked.shape[2:])
    return pointwise(rows, kernel.reshape(1, outputs, -1))[0]


def convolution(
    x: Array,
    kernel: Array,
    strides: tuple[int, int],
    padding: tuple[int, int],
    *,
    dilation: int = 1,
    groups: int = 1,
) -> Array:
    """XLA's convolution: x [C, H, W, N], kernel [O, C / groups, TH, TW]."""
    return lax.conv_general_dilated(
        x,
        kernel.astype(x.dtype),
        strides,
        [(p, p) for p in padding],
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("CHWN", "OIHW", "CHWN"),
        feature_group_count=groups,
    )


def folded_convolution(
    x: Array, depthwise: Array, pointwise: Array, stride: int = 1, dilation: int = 1
) -> Array:
    """A depthwise and a 1x1 convolution as one, whose kernel is their product.

    It costs C times the multiply-adds of the depthwise convolution, but every backend
    runs it fast, and the result of the depthwise convolution is never stored.

    Args:
      x: [E, C, H, W, N], or [1, C, H, W, N] where all edges read the same state.
      depthwise: [E, C, T, T], T odd.
      pointwise: [E, O, C].
      stride: stride of H and W.
      dilation: distance between the taps, pixels.

    Returns:
      [E, O, H', W', N], padded symmetrically by dilation * (T - 1) / 2.
    """
    kernel = pointwise[..., None, None] * depthwise[:, None]  # [E, O, C, T, T]
    edges, outputs = kernel.shape[:2]
    padding = (dilation * (kernel.shape[-1] - 1) // 2,) * 2
    run = functools.partial(
        convolution, strides=(stride, stride), padding=padding, dilation=dilation
    )
    if len(x) == 1:  # one convolution computes the outputs of all edges
        y = run(x[0], kernel.reshape(-1, *kernel.shape[2:]))
        return y.reshape(edges, outputs, *y.shape[1:])
    # One convolution per edge, because one with a group per edge would be slow.
    return jnp.stack([run(*edge) for edge in zip(x, kernel, strict=True)])
