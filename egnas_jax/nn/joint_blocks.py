"""Computes all separable convolutions that leave one state of a tiny image at once.

A block is a depthwise convolution, a 1x1 convolution and a norm. On a tiny image the
first is a product with matrices of pixels (`nn.lowering.matrix`), which have the same
shape for windows of any size. The blocks of all primitives and edges that leave a state
read the same array, so their matrices are stacked: one product computes all depthwise
convolutions, one batched product the 1x1 convolutions, and one norm follows. The second
blocks of the separable convolutions are computed together in the same way.

Dims: B blocks of one layer, S edges that leave the state, G = B * S, T taps of the
largest window, C input channels, O output channels, P pixels of an input, P' pixels of
an output, N images.
"""

import functools
from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from egnas_jax.nn import lowering
from egnas_jax.nn.layers import Affine, fold_norm, lazy_batch_norm, rectify
from egnas_jax.types import Array, PyTree


class Blocks(NamedTuple):
    """What a primitive that is a chain of one or two blocks looks like.

    Attributes:
      side: pixels per side of its windows.
      dilation: distance between the taps, pixels.
      names: keys of its blocks in its trees of arrays, in their order; () where the
        trees are those of a single block.
    """

    side: int
    dilation: int
    names: tuple[str, ...]

    def split(self, tree: PyTree) -> tuple[PyTree, ...]:
        """The trees of the blocks."""
        return tuple(tree[name] for name in self.names) or (tree,)

    def join(self, trees: tuple[PyTree, ...]) -> PyTree:
        """The tree of the primitive, from those of its blocks."""
        return dict(zip(self.names, trees, strict=True)) if self.names else trees[0]


def joint_blocks(
    kinds: Mapping[str, Blocks],
    variables: tuple[PyTree, PyTree],
    rectified: Array,
    weights: Mapping[str, Array],
    *,
    stride: int,
    train: bool,
) -> tuple[Array, PyTree]:
    """Sums the outputs of all primitives that are made of blocks.

    Args:
      kinds: those primitives, by name.
      variables: parameters and batch_stats of the state, by name of the primitive.
      rectified: the state after its ReLU, [1, C, H, W, N].
      weights: of the primitives on the edges, f32[S] by name.
      stride: of the first blocks.
      train: whether norms use the batch's statistics and update the running ones.

    Returns:
      The weighted sum, [S, O, H', W', N] in the dtype of sums, and the new batch_stats
      by name.
    """
    # Chains of two come first, so that the inputs of the second layer lie in one piece.
    order = sorted(kinds, key=lambda name: -len(kinds[name].names))
    params, stats = (
        [kinds[name].split(tree[name]) for name in order] for tree in variables
    )
    chains = [name for name in order if len(kinds[name].names) == 2]
    layer = functools.partial(_layer, train=train)
    first, first_stats = layer(
        [kinds[name] for name in order],
        ([blocks[0] for blocks in params], [blocks[0] for blocks in stats]),
        rectified,
        stride=stride,
    )
    edges, new_stats = len(weights[order[0]]), [[s] for s in first_stats]
    outputs = dict(zip(order, _rows(first, edges), strict=True))
    if chains:
        count = len(chains)
        second, second_stats = layer(
            [kinds[name] for name in chains],
            ([p[1] for p in params[:count]], [s[1] for s in stats[:count]]),
            rectify(_groups(first, 0, count * edges).value()),
            stride=1,
        )
        outputs |= dict(zip(chains, _rows(second, edges), strict=True))
        for blocks, block_stats in zip(new_stats, second_stats, strict=False):
            blocks.append(block_stats)
    # A sum over a stacked axis would be many times slower on a CPU.
    terms = (
        output.times(weights[name][:, None]).wide() for name, output in outputs.items()
    )
    joined = {
        name: kinds[name].join(tuple(blocks))
        for name, blocks in zip(order, new_stats, strict=True)
    }
    return functools.reduce(jnp.add, terms), joined


def _layer(kinds, variables, x, *, stride, train):
    """One block of each of some primitives, on all edges.

    Args:
      kinds: the primitives, B records `Blocks`.
      variables: parameters and batch_stats, lists of B trees.
      x: [1, C, H, W, N], which all blocks read, or [G, C, H, W, N].
      stride: of the windows.
      train: see `joint_blocks`.

    Returns:
      The output, an `Affine` over [G, O, H', W', N], and B trees of new batch_stats.
    """
    params, stats = variables
    edges = len(params[0]["pointwise"])
    norm = _stacked([tree["norm"] for tree in params])
    norm_stats = _stacked([tree["norm"] for tree in stats])
    pointwise = jnp.concatenate([tree["pointwise"] for tree in params])
    shape = x.shape[-3:-1]
    windows = _windows(kinds, [tree["depthwise"] for tree in params], shape, stride)
    kind = kinds[0]
    outputs = lowering.output_shape(shape, kind.side, stride, kind.dilation)
    if train:
        y, new = lazy_batch_norm(
            norm, norm_stats, _product(pointwise, windows, x, outputs), True
        )
        return y, [{"norm": tree} for tree in _unstacked(new, edges)]
    folded, shift = fold_norm(
        {"pointwise": pointwise, "norm": norm}, {"norm": norm_stats}
    )
    return Affine(_product(folded, windows, x, outputs), None, shift), stats


def _windows(kinds, depthwise, shape, stride):
    """The depthwise convolutions as matrices, [G, C, P', P].

    Taps that a smaller window does not have are zeros times matrices of zeros.
    """
    edges, channels = depthwise[0].shape[:2]
    most = max(kind.side for kind in kinds) ** 2
    taps, constants = [], []
    for kind, kernel in zip(kinds, depthwise, strict=True):
        missing = most - kind.side**2
        flat = kernel.reshape(edges * channels, kind.side**2)
        taps.append(jnp.pad(flat, ((0, 0), (0, missing))))
        matrices = lowering.tap_matrices(shape, kind.side, stride, kind.dilation)
        constants.append(np.pad(matrices, ((0, missing), (0, 0), (0, 0))))
    constant = np.stack(constants)  # [B, T, P', P]
    outputs, pixels = constant.shape[2:]
    windows = jnp.einsum(
        "bkt,btm->bkm",
        jnp.stack(taps),
        jnp.asarray(constant.reshape(len(kinds), most, -1), depthwise[0].dtype),
    )
    return windows.reshape(len(kinds) * edges, channels, outputs, pixels)


def _product(pointwise, windows, x, shape):
    """Applies 1x1 convolutions behind windows: [G, O, H', W', N].

    Args:
      pointwise: [G, O, C].
      windows: [G, C, P', P].
      x: [1, C, H, W, N] or [G, C, H, W, N].
      shape: H', W'.
    """
    y = lowering.apply_windows(windows, x)
    y = y.reshape(*windows.shape[:2], *shape, x.shape[-1])
    return lowering.pointwise(y, pointwise)


def _stacked(trees):
    """Trees of arrays [S, O] as one of [G, O]."""
    return {name: jnp.concatenate([t[name] for t in trees]) for name in trees[0]}


def _unstacked(tree, edges):
    """A tree of arrays [G, O] as B trees of [S, O]."""
    count = len(next(iter(tree.values()))) // edges
    return [
        {name: leaf[i * edges : (i + 1) * edges] for name, leaf in tree.items()}
        for i in range(count)
    ]


def _rows(affine, edges):
    """The outputs of the single primitives, each for its S edges."""
    starts = range(0, len(affine.x), edges)
    return [_groups(affine, start, start + edges) for start in starts]


def _groups(affine, start, stop):
    """Some of the G groups of an output."""
    return Affine(*(None if part is None else part[start:stop] for part in affine))
