"""How depthwise convolutions and poolings are computed: as sums of shifted slices.

XLA's grouped convolution is two orders too slow on a CPU, and on every backend a
depthwise or pooling kernel of a supernet is bound by memory, not by arithmetic. A sum
over taps of shifted slices is one fused elementwise loop that vectorises over the
images, which therefore lie innermost: every array here is [..., C, H, W, N].

Sums are taken in float32 at least, whatever the activations are (nn/precision.py).

Padding is torch's: symmetric, never XLA's SAME (which pads stride-2 windows unevenly).

Dims: E edges, C channels, H, W height and width, N images, T kernel side.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from egnas_jax.nn.precision import sum_dtype, wide
from egnas_jax.types import Array

# On the CPU XLA drops optimisation barriers before it fuses, and a depthwise kernel
# that is fused into its neighbours runs three to four times slower. This keeps them.
_REAL_BARRIERS = {"xla_disable_hlo_passes": "cse_barrier_expander"}


def compiler_options() -> dict[str, str]:
    """Options for the `jax.jit` of a program that holds a supernet."""
    return _REAL_BARRIERS if jax.default_backend() == "cpu" else {}


def materialise(x: Array) -> Array:
    """Keeps `x` a buffer of its own: what reads it is not fused with what makes it."""
    return lax.optimization_barrier(x)


def output_side(side: int, kernel: int, stride: int, dilation: int = 1) -> int:
    """Pixels per side after a window with the symmetric padding used here."""
    reach = dilation * (kernel - 1)
    return (side + 2 * (reach // 2) - reach - 1) // stride + 1


def pad_sides(x: Array, width: int, value: float = 0.0) -> Array:
    """Pads H and W of [..., H, W, N] by `width` on either side."""
    sides = [(0, 0, 0)] * (x.ndim - 3) + [(width, width, 0)] * 2 + [(0, 0, 0)]
    return materialise(lax.pad(x, jnp.asarray(value, x.dtype), sides))


def tap(
    padded: Array, row: int, column: int, stride: int, shape: tuple[int, int]
) -> Array:
    """What every output pixel sees at one offset of the window: [..., H', W', N]."""
    height, width = shape
    rows = slice(row, row + (height - 1) * stride + 1, stride)
    columns = slice(column, column + (width - 1) * stride + 1, stride)
    return padded[..., rows, columns, :]


def pixelwise(weight: Array) -> Array:
    """[..., C] as [..., C, 1, 1, 1], to meet [..., C, H, W, N]."""
    return weight[..., None, None, None]


@functools.partial(jax.jit, static_argnums=(2, 3, 4, 5))
def _correlate(
    padded: Array,
    kernel: Array,
    stride: int,
    dilation: int,
    shape: tuple[int, int],
    start: int = 0,
) -> Array:
    """Sum over taps of kernel [..., C, T, T] times the shifted slices of `padded`,
    whose first `start` rows and columns are passed over; not rounded yet."""
    side = kernel.shape[-1]
    terms = (
        pixelwise(wide(kernel[..., i, j]))
        * wide(tap(padded, start + i * dilation, start + j * dilation, stride, shape))
        for i in range(side)
        for j in range(side)
    )
    return functools.reduce(jnp.add, terms)


def depthwise(
    x: Array,
    kernel: Array,
    stride: int = 1,
    dilation: int = 1,
    padded: Array | None = None,
) -> Array:
    """Depthwise convolution of every edge, without bias.

    Args:
      x: [E, C, H, W, N], or [1, C, H, W, N] where all edges read the same state.
      kernel: [E, C, T, T], T odd.
      stride: of H and W.
      dilation: between the taps.
      padded: `x` with zeros around it, at least as many as are needed, where several
        kernels read the same `x`.

    Returns:
      [E, C, H', W', N], padded symmetrically by dilation * (T - 1) / 2.
    """
    if padded is None:
        padded = pad_sides(x, dilation * (kernel.shape[-1] - 1) // 2)
    return _depthwise(x, kernel, lax.stop_gradient(padded), stride, dilation)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _depthwise(x, kernel, padded, stride, dilation):
    side = kernel.shape[-1]
    shape = tuple(output_side(s, side, stride, dilation) for s in x.shape[-3:-1])
    spare = (padded.shape[-2] - x.shape[-2] - dilation * (side - 1)) // 2
    out = _correlate(padded, kernel, stride, dilation, shape, spare)
    return materialise(out.astype(x.dtype))


def _depthwise_forward(x, kernel, padded, stride, dilation):
    return _depthwise(x, kernel, padded, stride, dilation), (x, kernel)


def _depthwise_backward(stride, dilation, residuals, cotangent):
    x, kernel = residuals
    return (
        _input_gradient(x, kernel, stride, dilation, cotangent),
        _kernel_gradient(x, kernel, stride, dilation, cotangent),
        None,  # all of the gradient goes to x
    )


@functools.partial(jax.jit, static_argnums=(2, 3))
def _input_gradient(x, kernel, stride, dilation, cotangent):
    """Correlation of the cotangent, spread out by the stride, with the flipped kernel.

    Where all edges read one state their gradients are added edge by edge: a sum over
    a stacked axis of edges costs an order more on a CPU.
    """
    side, shape = kernel.shape[-1], x.shape[-3:-1]
    spread = _spread(cotangent, shape, dilation * (side - 1), stride)
    flipped = kernel[..., ::-1, ::-1]
    if x.shape[0] == kernel.shape[0]:
        out = _correlate(spread, flipped, 1, dilation, shape)
        return materialise(out.astype(x.dtype))

    def add_edge(total, edge):
        return total + _correlate(*edge, 1, dilation, shape), None

    nothing = jnp.zeros(x.shape[1:], sum_dtype(x))
    total, _ = lax.scan(add_edge, nothing, (spread, flipped))
    return total[None].astype(x.dtype)


def _spread(x, shape, reach, stride, fill=0.0):
    """Outputs of a window, laid out over its inputs' pixels and padded.

    What an input pixel sees of it through a flipped window of stride 1 are the outputs
    that it took part in.

    Args:
      x: [..., H', W', N], one value an output pixel.
      shape: H, W of the inputs.
      reach: pixels between the first and the last tap.
      stride: of the window.
      fill: value where there is no output.
    """
    low = reach - reach // 2
    sides = [(0, 0, 0)] * (x.ndim - 3)
    for size, out in zip(shape, x.shape[-3:-1], strict=True):
        used = (out - 1) * stride + 1
        sides.append((low, size + reach - low - used, stride - 1))
    return materialise(lax.pad(x, jnp.asarray(fill, x.dtype), [*sides, (0, 0, 0)]))


@functools.partial(jax.jit, static_argnums=(2, 3))
def _kernel_gradient(x, kernel, stride, dilation, cotangent):
    """Products of shifted inputs and cotangents, summed over pixels and images.

    One output row after another: the sum over images is a matrix product between all
    input columns v of the T rows that it reads and its own columns w. Tap j is the sum
    of the entries with v = stride * w + dilation * j. This does more arithmetic than
    the definition and is several times faster: matrix products reach the peak of the
    machine, and a row is read where it lies.
    """
    edges, channels, side = kernel.shape[:3]
    height, width = cotangent.shape[-3:-1]
    padded = pad_sides(x, dilation * (side - 1) // 2)

    def add_row(h, total):
        rows = [
            lax.dynamic_index_in_dim(padded, stride * h + dilation * i, 2, False)
            for i in range(side)
        ]
        rows = jnp.broadcast_to(
            jnp.stack(rows, axis=2), (edges, channels, side, *padded.shape[-2:])
        )
        row = lax.dynamic_index_in_dim(cotangent, h, 2, False)
        return total + _wide_einsum("ecivn,ecwn->ecivw", rows, row)

    shape = edges, channels, side, padded.shape[-2], width
    nothing = jnp.zeros(shape, sum_dtype(x))
    products = lax.fori_loop(0, height, add_row, nothing)
    columns = np.arange(padded.shape[-2])[:, None, None]
    reads = stride * np.arange(width)[:, None] + dilation * np.arange(side)
    select = (columns == reads).astype(products.dtype)  # [V, W', T]
    return jnp.einsum("ecivw,vwj->ecij", products, select).astype(kernel.dtype)


_depthwise.defvjp(_depthwise_forward, _depthwise_backward)


def _wide_einsum(subscripts: str, a: Array, b: Array) -> Array:
    """Products as they are, summed and returned in the dtype of sums."""
    return jnp.einsum(subscripts, a, b, preferred_element_type=sum_dtype(a))


@jax.custom_vjp
def pointwise(x: Array, kernel: Array) -> Array:
    """1x1 convolution of every edge: x [E, C, H, W, N], kernel [E, O, C].

    The products are of the dtype of `x`; XLA adds them up in float32. Its gradients are
    autodiff's, but that of the kernel is multiplied in the other order, which XLA's CPU
    kernels do up to six times faster.
    """
    out = jnp.einsum("eoc,ecm->eom", kernel.astype(x.dtype), _flat(x))
    return materialise(out.reshape(*out.shape[:2], *x.shape[2:]))


def _pointwise_forward(x, kernel):
    return pointwise(x, kernel), (x, kernel)


def _pointwise_backward(residuals, cotangent):
    x, kernel = residuals
    of_kernel = _wide_einsum("eom,ecm->eco", _flat(cotangent), _flat(x))
    of_kernel = of_kernel.swapaxes(1, 2).astype(kernel.dtype)
    return pointwise(cotangent, kernel.swapaxes(1, 2)), of_kernel


pointwise.defvjp(_pointwise_forward, _pointwise_backward)


def _flat(x: Array) -> Array:
    """[E, C, H, W, N] as [E, C, pixels of all images]."""
    return x.reshape(*x.shape[:2], -1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def for_edges(x: Array, edges: int) -> Array:
    """What all edges read alike, [1, ...], as [E, ...]; others as they are.

    The gradient adds one edge to another: summing a stacked axis of edges takes a CPU
    up to a hundred times as long.
    """
    return jnp.broadcast_to(x, (edges, *x.shape[1:]))


def _for_edges_forward(x, edges):
    return for_edges(x, edges), len(x)


def _for_edges_backward(edges, given, cotangent):
    if given == edges:
        return (cotangent,)
    total = functools.reduce(jnp.add, wide(cotangent))
    return (materialise(total.astype(cotangent.dtype))[None],)


for_edges.defvjp(_for_edges_forward, _for_edges_backward)


def convolve(
    x: Array, kernel: Array, strides: tuple[int, int], padding: tuple[int, int]
) -> Array:
    """Full convolution of one image batch: x [C, H, W, N], kernel [O, C, TH, TW]."""
    return lax.conv_general_dilated(
        x,
        kernel.astype(x.dtype),
        strides,
        [(p, p) for p in padding],
        dimension_numbers=("CHWN", "OIHW", "CHWN"),
    )


@functools.partial(jax.jit, static_argnums=1)
def avg_pool(x: Array, stride: int = 1) -> Array:
    """3x3 average pooling over the pixels that exist (padding is not counted)."""
    shape = tuple(output_side(side, 3, stride) for side in x.shape[-3:-1])
    padded = pad_sides(x, 1)
    total = functools.reduce(jnp.add, map(wide, _windows(padded, 3, stride, shape)))
    counts = np.multiply.outer(*(_pixels_in_window(s, stride) for s in x.shape[-3:-1]))
    counts = counts.reshape((1,) * (x.ndim - 3) + (*shape, 1))
    return (total / counts.astype(total.dtype)).astype(x.dtype)


@functools.partial(jax.jit, static_argnums=1)
def max_pool(x: Array, stride: int = 1) -> Array:
    """3x3 maximum pooling; of equal values the first, in reading order, is taken.

    The gradient goes to that one pixel, as in torch: a tie has one winner on every
    backend, which select-and-scatter does not promise.
    """
    return _max_pool(x, stride)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _max_pool(x, stride):
    return functools.reduce(jnp.maximum, _max_windows(x, stride))


def _max_windows(x, stride):
    shape = tuple(output_side(side, 3, stride) for side in x.shape[-3:-1])
    return _windows(pad_sides(x, 1, -np.inf), 3, stride, shape)


def _max_pool_forward(x, stride):
    return _max_pool(x, stride), x


def _max_pool_backward(stride, x, cotangent):
    """Every pixel collects from the (up to nine) windows whose winner it is."""
    best, winner = -jnp.inf, -1.0
    for position, value in enumerate(_max_windows(x, stride)):
        wins = value > best
        here = jnp.asarray(position, x.dtype)
        best, winner = jnp.where(wins, value, best), jnp.where(wins, here, winner)
    spread = functools.partial(_spread, shape=x.shape[-3:-1], reach=2, stride=stride)
    won = _windows(spread(materialise(winner), fill=-1.0), 3, 1, x.shape[-3:-1])
    given = _windows(spread(cotangent), 3, 1, x.shape[-3:-1])
    # a pixel is the first of the window that it is the last to see, and so on
    pairs = enumerate(zip(reversed(won), reversed(given), strict=True))
    parts = (wide(jnp.where(w == position, g, 0.0)) for position, (w, g) in pairs)
    return (materialise(functools.reduce(jnp.add, parts).astype(x.dtype)),)


_max_pool.defvjp(_max_pool_forward, _max_pool_backward)


@jax.jit
def halve(x: Array) -> Array:
    """2x2 maximum pooling with stride 2, of the channels that bypass a strided edge."""
    shape = tuple(side // 2 for side in x.shape[-3:-1])
    windows = _windows(x, 2, 2, shape)
    return functools.reduce(lambda best, new: jnp.where(new > best, new, best), windows)


def _windows(padded, side, stride, shape):
    """The taps of a window of side x side, in reading order."""
    return [tap(padded, i, j, stride, shape) for i in range(side) for j in range(side)]


def _pixels_in_window(side: int, stride: int) -> np.ndarray:
    """Along one axis, how many pixels of the image each window of 3 covers."""
    starts = np.arange(output_side(side, 3, stride)) * stride - 1
    return np.minimum(starts + 3, side) - np.maximum(starts, 0)
