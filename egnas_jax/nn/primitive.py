"""Defines what a primitive is: a record of functions.

A primitive is written for one edge and for images as users have them. The networks
compute all edges that leave a state at once and keep the images innermost, so they run
the `EdgeKernel` of a primitive: its own one if it has one, else the one that
`primitive_edges` derives from its functions.

Dims: E edges, C channels, H, W sides, N images.
"""

from typing import NamedTuple, Protocol

from jaxtyping import Float

from egnas_jax.nn import lowering
from egnas_jax.nn.joint_blocks import Blocks
from egnas_jax.nn.layers import Affine, relu
from egnas_jax.types import Array, Key, PyTree

WIDEST = 4  # pixels from the centre of the widest window, dil_conv_5x5, to its edge

FIRST_HALF, SECOND_HALF = "first half", "second half"


class PrimitiveInit(Protocol):
    def __call__(self, key: Key, channels: int, stride: int) -> tuple[PyTree, PyTree]:
        """Draws the initial variables of one edge.

        Args:
          key: random key.
          channels: C, before and after the primitive.
          stride: 1, or 2 where a reduction cell reads its inputs.

        Returns:
          Parameters and batch_stats: dictionaries of f32 arrays, {} where there are
          none. What `train` updates are batch_stats; their arrays keep their shapes.
        """


class PrimitiveApply(Protocol):
    def __call__(
        self,
        params: PyTree,
        batch_stats: PyTree,
        x: Float[Array, "N H W C"],
        stride: int,
        train: bool,
    ) -> tuple[Float[Array, "N H2 W2 C"], PyTree]:
        """Computes one edge.

        Without batch_stats it must treat each image by itself: where devices share a
        batch, it is given a part of the images. With batch_stats it is given the whole
        batch in training.

        Args:
          params, batch_stats: as `PrimitiveInit` draws them.
          x: the state that the edge leaves, f32 or bf16, before any ReLU.
          stride: 1 or 2.
          train: whether norms use the batch's statistics and update the running ones.

        Returns:
          The output in the dtype of `x`, [N, H / stride, W / stride, C], and the new
          batch_stats; those of evaluation are not read.

        A primitive with `draws` also gets the keyword `key`, a random key of the edge.
        """


class Source(NamedTuple):
    """A state as its out-edges read it, each array [1, C, H, W, N].

    Attributes:
      raw: the state.
      rectified: the state after the ReLU that most primitives start with.
      padded: the rectified state with zeros around it, enough for the widest kernel.
    """

    raw: Array
    rectified: Array
    padded: Array


def source_of(state: Array) -> Source:
    """Prepares a state [1, C, H, W, N] for its out-edges."""
    rectified = relu(state)
    return Source(state, rectified, lowering.pad_sides(rectified, WIDEST))


class EdgeInit(Protocol):
    def __call__(
        self, edges: int, channels: int, stride: int, affine: bool
    ) -> tuple[PyTree, PyTree]:
        """Describes parameters and batch_stats, as trees of `nn.init.Leaf`.

        Args:
          edges: E.
          channels, stride: see `PrimitiveInit`.
          affine: whether norms have a scale and a shift.
        """


class EdgeApply(Protocol):
    def __call__(
        self,
        params: PyTree,
        stats: PyTree,
        source: Source,
        *,
        stride: int,
        train: bool,
        kernels: lowering.Kernels,
    ) -> tuple[Affine, PyTree]:
        """Applies the primitive to a state, for all edges that leave it.

        Args:
          params, stats: arrays that `EdgeInit` describes.
          source: the state.
          stride, train: see `PrimitiveApply`.
          kernels: implementations; they change the speed, not the result.

        Returns:
          The output, [E, C, H', W', N], or [1, C, H', W', N] where it does not depend
          on the edge; and the new batch_stats.

        A kernel with `draws` also gets the keyword `keys`, a random key for each edge,
        [E].
        """


class EdgeKernel(NamedTuple):
    """How the networks compute a primitive, for all edges that leave one state.

    Attributes:
      init: describes its arrays.
      apply: computes its output.
      identity: whether it passes the state on unchanged at stride 1. Drop path leaves
        such an edge alone, and P-DARTS drops elements behind it.
      blocks: what it looks like if it is a chain of separable convolutions, which a
        cell of tiny images computes together; None for another primitive.
      fused: as what the fused kernels compute it: "blocks", "convolution" (a full one
        and a norm), "skip", "maximum" or "average" (3x3 poolings); None if they do not.
      torch: pairs of torch's name of a weight inside the operation and its path in our
        trees. The path of a norm leads to the dictionaries of its arrays. A path that
        ends in `FIRST_HALF` or `SECOND_HALF` is one half of the outputs of a kernel
        that torch keeps in two. None where the weights are named by their paths.
      onnx: name of the writer of `export.onnx_ops` that writes it; None if none does.
      draws: whether it draws random numbers, and so takes keys.
    """

    init: EdgeInit
    apply: EdgeApply
    identity: bool = False
    blocks: Blocks | None = None
    fused: str | None = None
    torch: tuple[tuple[str, tuple[str, ...]], ...] | None = None
    onnx: str | None = None
    draws: bool = False


class Primitive(NamedTuple):
    """One candidate operation.

    Attributes:
      name: as spaces and genotypes write it.
      init: draws the variables of one edge.
      apply: computes one edge.
      family: "conv", "pool", "skip" or "other" ("none" for the absence of an edge).
        It chooses the colour in drawings; a "pool" is followed by a norm where the
        supernet has `pool_bn`.
      kernel: how the networks compute it; None derives that from `init` and `apply`.
      draws: whether `apply` draws random numbers, and so takes a key; see
        `nn.drawing_keys`.
    """

    name: str
    init: PrimitiveInit
    apply: PrimitiveApply
    family: str = "other"
    kernel: EdgeKernel | None = None
    draws: bool = False
