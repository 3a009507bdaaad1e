"""Counts weights and multiply-adds of a derived network.

The edges of the cells are counted by tracing their primitives (`nn.primitive_cost`).
The frame around them is counted by arithmetic: a list of convolutions describes the
stem, the preprocessing of the cells' inputs and the auxiliary head.

Dims: C channels.
"""

from typing import NamedTuple

from egnas_jax.nn.cell_plan import CellPlan, last_reduction
from egnas_jax.nn.network_config import (
    FRAMES,
    HEAD_FEATURES,
    HEAD_HIDDEN,
    NetworkConfig,
    cell_plan,
    output_channels,
)
from egnas_jax.nn.primitive_cost import edge_multiply_adds, edge_params
from egnas_jax.space import Genotype
from egnas_jax.space.pairs import NUM_INPUTS

# Printed beside the number, because published numbers follow several conventions.
MULTIPLY_ADDS_CONVENTION = (
    "multiply-adds of the convolutions and the classifier for one image; batch norm, "
    "pooling, additions and the auxiliary head are not counted"
)


class Convolution(NamedTuple):
    """A convolution without bias, and the batch norm that may follow it.

    Attributes:
      kernel: height and width, pixels.
      fan_in: input channels.
      fan_out: output channels.
      halvings: how often the height and the width of its output have been halved since
        the image.
      groups: number of groups of channels.
      norm: whether a batch norm with scale and shift follows.
    """

    kernel: tuple[int, int]
    fan_in: int
    fan_out: int
    halvings: tuple[int, int]
    groups: int = 1
    norm: bool = True

    @property
    def kernel_size(self) -> int:
        """Number of weights of the kernel."""
        height, width = self.kernel
        return height * width * self.fan_in // self.groups * self.fan_out

    @property
    def params(self) -> int:
        """Number of weights, including those of the batch norm."""
        return self.kernel_size + 2 * self.fan_out * self.norm

    def multiply_adds(self, image_size: int) -> int:
        """Multiply-adds for an image: each weight counts once per output pixel.

        All strided operations of these networks pad such that a side is halved and
        rounded up, so the number of halvings determines the side.
        """
        height, width = (-(-image_size // 2**count) for count in self.halvings)
        return self.kernel_size * height * width


class Edge(NamedTuple):
    """One edge of a cell.

    Attributes:
      primitive: its name.
      channels: C.
      stride: 1 or 2.
      halvings: how often the state that it leaves has been halved since the image.
    """

    primitive: str
    channels: int
    stride: int
    halvings: int

    @property
    def params(self) -> int:
        """Number of weights, including those of batch norms."""
        return edge_params(self.primitive, self.channels, self.stride)

    def multiply_adds(self, image_size: int) -> int:
        """Multiply-adds for an image of this side, pixels; half a side rounds up."""
        side = -(-image_size // 2**self.halvings)
        return edge_multiply_adds(self.primitive, self.channels, self.stride, side)


def count_params(
    genotype: Genotype,
    config: NetworkConfig,
    *,
    auxiliary: bool = False,
    image_channels: int = 3,
) -> int:
    """Number of weights of the network, see `network_cost.count_params`."""
    parts = _parts(genotype, config, image_channels)
    total = sum(part.params for part in parts)
    total += _classifier(genotype, config) + config.num_classes  # the bias
    if auxiliary:
        # The head reads the output of the last reduction.
        cells = cell_plan(genotype, config)
        cell = cells[last_reduction(cells)]
        total += _auxiliary_params(config, output_channels(genotype, cell))
    return total


def multiply_adds(
    genotype: Genotype,
    config: NetworkConfig,
    image_size: int = 32,
    *,
    image_channels: int = 3,
) -> int:
    """Multiply-adds of one image, see `network_cost.multiply_adds`."""
    parts = _parts(genotype, config, image_channels)
    total = sum(part.multiply_adds(image_size) for part in parts)
    return total + _classifier(genotype, config)


def _parts(genotype, config, image_channels) -> list[Convolution | Edge]:
    """Everything that counts, except the auxiliary head and the classifier."""
    parts, halvings = _stem(config, image_channels)
    for cell in cell_plan(genotype, config):
        parts += preprocessing(cell, halvings)
        for primitive, source in getattr(genotype, cell.kind):
            from_input = source < NUM_INPUTS
            strided = cell.reduction and from_input
            before = halvings + (cell.reduction and not from_input)
            parts.append(Edge(primitive, cell.channels, 1 + strided, before))
        halvings += cell.reduction
    return parts


def _stem(config, image_channels) -> tuple[list[Convolution], int]:
    """Convolutions of the stem, and how often it halves the image."""
    frame = FRAMES[config.frame]
    convolutions, fan_in, halvings = [], image_channels, 0
    widths = frame.stem_channels(config.channels)
    for fan_out, (_, stride) in zip(widths, frame.stem, strict=True):
        halvings += stride == 2
        convolutions.append(
            Convolution(
                kernel=(3, 3),
                fan_in=fan_in,
                fan_out=fan_out,
                halvings=(halvings, halvings),
            )
        )
        fan_in = fan_out
    return convolutions, halvings


def preprocessing(cell: CellPlan, before: int) -> list[Convolution]:
    """Convolutions that bring a cell's inputs to its channels.

    Args:
      cell: the cell.
      before: how often the newer input has been halved since the image.
    """
    older = _factorized_reduce if cell.reduced_before else _pointwise
    return [
        *older(cell.inputs[0], cell.channels, before),
        *_pointwise(cell.inputs[1], cell.channels, before),
    ]


def _pointwise(fan_in, fan_out, after):
    return [
        Convolution(
            kernel=(1, 1), fan_in=fan_in, fan_out=fan_out, halvings=(after, after)
        )
    ]


def _factorized_reduce(fan_in, fan_out, after):
    """Two pointwise convolutions, each with half of the channels and stride 2."""
    return 2 * _pointwise(fan_in, fan_out // 2, after)


def _classifier(genotype, config):
    """Number of weights of the classifier without its bias; also its multiply-adds."""
    last = cell_plan(genotype, config)[-1]
    return output_channels(genotype, last) * config.num_classes


def _auxiliary_params(config, channels):
    """Number of weights of the auxiliary head: two convolutions and a classifier."""
    norm = FRAMES[config.frame].second_norm
    convolutions = [
        *_pointwise(channels, HEAD_HIDDEN, 0),
        Convolution(
            kernel=(2, 2),
            fan_in=HEAD_HIDDEN,
            fan_out=HEAD_FEATURES,
            halvings=(0, 0),
            norm=norm,
        ),
    ]
    classifier = (HEAD_FEATURES + 1) * config.num_classes
    return sum(conv.params for conv in convolutions) + classifier
