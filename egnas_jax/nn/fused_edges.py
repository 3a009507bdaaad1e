"""Computes the edges that leave one state with the fused kernels of a GPU.

Norms are folded into the convolutions before them, and the weights of the primitives
into the last convolution of each. Two kernels are left for all edges that leave a
state:

1. the first blocks of all chains of two blocks, which are stored after their ReLU;
2. the sum of everything else: second blocks, single blocks, poolings and skip
   connections.

With the batch's own statistics each of the two has a kernel before it, which computes
the same convolutions and stores only their moments.

There are no gradients; a cell takes those of another lowering.

Dims: S edges that leave the state, C input channels, O output channels, T window side,
H, W sides, H', W' sides of the output, N images.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax.numpy as jnp

from egnas_jax.nn.joint_blocks import Blocks
from egnas_jax.nn.layers import batch_scale_and_shift, relu, scale_and_shift
from egnas_jax.nn.lowering.fused_kernels import Term, convolve, mix, moments
from egnas_jax.nn.lowering.fused_sums import Pools, Weights
from egnas_jax.nn.lowering.fused_tiles import Window
from egnas_jax.nn.primitive import EdgeKernel
from egnas_jax.nn.sync_batch_norm import all_reduce_moments, num_shares
from egnas_jax.types import Array, PyTree


class _Layer(NamedTuple):
    """Convolutions that add up, and the arrays of the norm of their sum."""

    terms: tuple[Term, ...]
    params: PyTree
    stats: PyTree


class _Folded(NamedTuple):
    """A layer whose norm is known."""

    terms: tuple[Term, ...]  # their weights contain the factor of the norm
    shift: Array  # [S, O]
    new_stats: PyTree


def fused_edges(
    primitives: Mapping[str, EdgeKernel],
    variables: tuple[PyTree, PyTree],
    state: Array,
    weights: Mapping[str, Array],
    *,
    stride: int,
    train: bool,
) -> tuple[Array, PyTree]:
    """Sums the outputs of primitives.

    Args:
      primitives: the primitives by name; each is `fused`.
      variables: parameters and batch_stats of the state, by name of the primitive.
      state: [C, H, W, N], before its ReLU.
      weights: of the primitives on the edges, f32[S] by name.
      stride: of the primitives.
      train: whether norms use the batch's statistics and update the running ones.

    Returns:
      The weighted sum, [S, C, H', W', N] in the dtype of the state, and the new
      batch_stats by name.
    """
    params, stats = variables
    layers = {
        name: _layers(primitives[name], params[name], stats[name], stride)
        for name in primitives
        if name in params
    }
    sources, options = [relu(state[None])], {"stride": stride, "train": train}
    first = _fold({n: parts[0] for n, parts in layers.items()}, sources, **options)
    chains = [name for name, parts in layers.items() if len(parts) == 2]
    if chains:
        blocks, shifts, _ = zip(*(first[name] for name in chains), strict=True)
        sources += convolve(sources, blocks, shifts, stride)
    second = {
        name: _reads(layers[name][1], position)
        for position, name in enumerate(chains, start=1)
    }
    second = _fold(second, sources, **options)
    terms, shift = _weighted(first | second, weights, len(state))
    pooled = state, _pools(primitives, weights, stride)
    total = mix(sources, terms, shift, pooled, stride)
    new_stats = {
        name: _joined(primitives[name], first[name].new_stats, second.get(name))
        for name in layers
    }
    return total, new_stats


def _layers(
    primitive: EdgeKernel, params: PyTree, stats: PyTree, stride: int
) -> list[_Layer]:
    """The convolutions of a primitive that has some; they read the first source."""
    if primitive.fused == "convolution":
        terms = (_full(params["conv"], stride),)
    elif primitive.fused == "skip":
        terms = _shifted_halves(params["pointwise"])
    else:
        blocks = primitive.blocks
        pairs = zip(blocks.split(params), blocks.split(stats), strict=True)
        return [
            _Layer((_separable(blocks, p, stride),), p["norm"], s["norm"])
            for (p, s), stride in zip(pairs, (stride, 1), strict=False)
        ]
    return [_Layer(terms, params["norm"], stats["norm"])]


def _separable(blocks: Blocks, params: PyTree, stride: int) -> Term:
    """A depthwise convolution and the 1x1 convolution behind it."""
    depthwise = params["depthwise"]  # [S, C, T, T]
    weights = Weights(
        depthwise.reshape(*depthwise.shape[:2], -1, 1),
        params["pointwise"].transpose(0, 2, 1),
    )
    return Term(0, Window.centred(blocks.side, stride, blocks.dilation), weights)


def _full(kernel: Array, stride: int) -> Term:
    """A convolution with a kernel [S, O, C, T, T]."""
    side = kernel.shape[-1]
    taps = kernel.reshape(*kernel.shape[:3], side * side)
    return Term(0, Window.centred(side, stride), Weights(taps.transpose(0, 2, 3, 1)))


def _shifted_halves(pointwise: Array) -> tuple[Term, Term]:
    """The two 1x1 convolutions of a factorized reduction, [S, O, C].

    The first half of the outputs reads the even pixels, the second half the odd ones.
    """
    weights = pointwise.transpose(0, 2, 1)[:, :, None]  # [S, C, 1, O]
    is_first = jnp.arange(pointwise.shape[1]) < pointwise.shape[1] // 2
    return tuple(
        Term(
            0, Window(1, stride=2, origin=-pixel), Weights(jnp.where(used, weights, 0))
        )
        for pixel, used in enumerate((is_first, ~is_first))
    )


def _reads(layer: _Layer, source: int) -> _Layer:
    """A layer that reads another source."""
    terms = tuple(term._replace(source=source) for term in layer.terms)
    return layer._replace(terms=terms)


def _fold(
    layers: Mapping[str, _Layer], sources: Sequence[Array], *, stride: int, train: bool
) -> dict[str, _Folded]:
    """Folds the norms of some layers into their convolutions."""
    if not layers:
        return {}
    if not train:
        return {
            name: _folded(terms, *scale_and_shift(params, stats), stats)
            for name, (terms, params, stats) in layers.items()
        }
    found = moments(sources, [layer.terms for layer in layers.values()], stride)
    *_, height, width, images = sources[0].shape
    count = (height // stride) * (width // stride) * images * num_shares()
    folded = {}
    for (name, layer), pair in zip(layers.items(), found, strict=True):
        batch = all_reduce_moments(*pair)
        norm = batch_scale_and_shift(layer.params, layer.stats, batch, count)
        folded[name] = _folded(layer.terms, *norm)
    return folded


def _folded(terms, scale, shift, new_stats):
    return _Folded(_times(terms, scale), shift, {"norm": new_stats})


def _times(terms: Sequence[Term], factor: Array) -> tuple[Term, ...]:
    """Terms with their outputs times a factor, [S, O] or [S, 1]."""

    def scaled(window, pointwise):
        if pointwise is None:
            return Weights(window * factor[:, None, None])
        return Weights(window, pointwise * factor[:, None])

    return tuple(term._replace(weights=scaled(*term.weights)) for term in terms)


def _weighted(
    parts: Mapping[str, _Folded], weights: Mapping[str, Array], channels: int
) -> tuple[list[Term], Array]:
    """All last convolutions times the weights of their primitives, and their shift."""
    edges = len(next(iter(weights.values())))
    terms, shift = [], jnp.zeros((edges, channels), jnp.float32)
    for name, part in parts.items():
        factor = weights[name][:, None]
        terms += _times(part.terms, factor)
        shift += factor * part.shift
    return terms, shift


def _pools(
    primitives: Mapping[str, EdgeKernel], weights: Mapping[str, Array], stride: int
) -> Pools:
    """The weights of the primitives without convolutions."""
    by_kind = {p.fused: weights[name] for name, p in primitives.items()}
    if stride == 2:
        by_kind.pop("skip", None)  # it is a convolution then
    return Pools(**{kind: by_kind.get(kind) for kind in Pools._fields})


def _joined(primitive: EdgeKernel, first: PyTree, second: _Folded | None) -> PyTree:
    """The new batch_stats of a primitive from those of its layers."""
    if second is None:
        return first
    return primitive.blocks.join((first, second.new_stats))
