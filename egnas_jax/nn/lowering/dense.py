"""Computes 1x1 and full convolutions, and broadcasts a state to its edges.

Dims: E edges, C input channels, O output channels, H, W height and width, N images.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap

from egnas_jax.nn.lowering.barriers import materialise
from egnas_jax.nn.lowering.forward_mode import differentiable
from egnas_jax.nn.lowering.rules import Rules, rules_for
from egnas_jax.nn.lowering.sums import sum_pixels
from egnas_jax.nn.lowering.windows import pixelwise
from egnas_jax.nn.precision import wide, wide_einsum
from egnas_jax.types import Array


def pointwise(x: Array, kernel: Array, rules: Rules | None = None) -> Array:
    """1x1 convolution of every edge.

    The operands have the dtype of `x`, and their products are added up in float32.

    Args:
      x: [E, C, H, W, N].
      kernel: [E, O, C].
      rules: rules of a backend, or None for those of the default backend.

    Returns:
      [E, O, H, W, N].
    """
    rules = rules or rules_for()

    def by_hand(x, kernel):
        if max(kernel.shape[1:]) <= rules.summed_channels:
            return _pointwise_sum(x, kernel)
        return _pointwise_product(x, kernel, rules.joint_products)

    return differentiable(by_hand, _product)(x, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _pointwise_product(x, kernel, joint):
    """1x1 convolution as a matrix product.

    The gradients are those of autodiff, except that the kernel's is multiplied in the
    other order, which XLA's CPU kernels do up to six times faster.
    """
    return _product(x, kernel, _multiply if joint else _multiply_each)


def _multiply(kernel, x):
    """Matrix products [..., E, O, M] of [..., E, O, C] and [..., E, C, M]."""
    return jnp.einsum("...eoc,...ecm->...eom", kernel, x)


def _product(x, kernel, multiply=_multiply):
    out = multiply(kernel.astype(x.dtype), _flat(x))
    return materialise(out.reshape(*out.shape[:2], *x.shape[2:]))


_multiply_each = custom_vmap(_multiply)


@_multiply_each.def_vmap
def _multiply_population(individuals, is_batched, *operands):
    """Gives every individual a kernel of its own, which makes its product one too."""
    operands = (
        operand if batched else jnp.broadcast_to(operand, (individuals, *operand.shape))
        for operand, batched in zip(operands, is_batched, strict=True)
    )
    return _multiply_each(*operands), True


def _pointwise_forward(x, kernel, joint):
    return _pointwise_product(x, kernel, joint), (x, kernel)


def _pointwise_backward(joint, residuals, cotangent):
    x, kernel = residuals
    kernel_gradient = wide_einsum("eom,ecm->eco", _flat(cotangent), _flat(x))
    kernel_gradient = kernel_gradient.swapaxes(1, 2).astype(kernel.dtype)
    input_gradient = _pointwise_product(cotangent, kernel.swapaxes(1, 2), joint)
    return input_gradient, kernel_gradient


_pointwise_product.defvjp(_pointwise_forward, _pointwise_backward)


@jax.custom_vjp
def _pointwise_sum(x, kernel):
    """1x1 convolution as a sum over the input channels."""
    weights = wide(pixelwise(kernel.astype(x.dtype)))  # [E, O, C, 1, 1, 1]
    terms = (weights[:, :, c] * wide(x[:, c : c + 1]) for c in range(x.shape[1]))
    return functools.reduce(jnp.add, terms).astype(x.dtype)


def _pointwise_sum_forward(x, kernel):
    return _pointwise_sum(x, kernel), (x, kernel)


def _pointwise_sum_backward(residuals, cotangent):
    x, kernel = residuals
    products = wide(cotangent)[:, :, None] * wide(x)[:, None]  # [E, O, C, H, W, N]
    (kernel_gradient,) = sum_pixels(products)
    input_gradient = _pointwise_sum(cotangent, kernel.swapaxes(1, 2))
    return input_gradient, kernel_gradient.astype(kernel.dtype)


_pointwise_sum.defvjp(_pointwise_sum_forward, _pointwise_sum_backward)


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
    x: Array,
    kernel: Array,
    strides: tuple[int, int],
    padding: tuple[int, int],
    rules: Rules | None = None,
) -> Array:
    """Convolution by the operation that is fast on a backend.

    Args:
      x: [C, H, W, N].
      kernel: [O, C, TH, TW].
      strides: strides of H and W.
      padding: zeros on either side of H and of W.
      rules: rules of a backend, or None for those of the default backend.

    Returns:
      [O, H', W', N].
    """
    if (rules or rules_for()).matrix_convolutions:
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
