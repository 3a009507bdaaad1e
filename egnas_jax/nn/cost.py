"""Weights and multiply-adds of a derived network, by arithmetic.

Every part of the network is described once, as a list of convolutions; both figures
follow from that list.

Dims: C channels.
"""

import functools
from typing import NamedTuple

from egnas_jax.nn.cell_plan import CellPlan
from egnas_jax.nn.network_config import NetworkConfig, cell_plan, output_channels
from egnas_jax.space import Genotype

# To be printed beside the number: several conventions circulate for the same nets.
MULTIPLY_ADDS_CONVENTION = (
    "multiply-adds of the convolutions and the classifier for one image; batch norm, "
    "pooling, additions and the auxiliary head are not counted"
)


class Convolution(NamedTuple):
    """A convolution without bias, and the batch norm that may follow it.

    Attributes:
      kernel: height and width, pixels.
      fan_in, fan_out: channels before and after it.
      halvings: how often its output's height and width were halved since the image.
      groups: groups of channels that do not see each other.
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
        """Weights of the kernel."""
        height, width = self.kernel
        return height * width * self.fan_in // self.groups * self.fan_out

    @property
    def params(self) -> int:
        """Trained weights, batch norm included."""
        return self.kernel_size + 2 * self.fan_out * self.norm

    def multiply_adds(self, image_size: int) -> int:
        """Each weight of the kernel counts once per pixel of the output.

        All strided operations of these networks pad such that a side is halved and
        rounded up, so the number of halvings tells the side.
        """
        height, width = (-(-image_size // 2**count) for count in self.halvings)
        return self.kernel_size * height * width


def count_params(
    genotype: Genotype,
    config: NetworkConfig,
    *,
    auxiliary: bool = False,
    image_channels: int = 3,
) -> int:
    """Trained weights of the network that a genotype and a configuration make.

    Args:
      genotype: its cells.
      config: its frame.
      auxiliary: whether to count the auxiliary head; published sizes do not.
      image_channels: channels of the images.

    Returns:
      Number of weights (not millions), batch norm's scales and shifts included.

    Source: `count_parameters_in_MB` of the DARTS family, which counts millions.
    """
    convolutions = _convolutions(genotype, config, image_channels)
    total = sum(conv.params for conv in convolutions)
    total += _classifier(genotype, config) + config.num_classes  # its bias
    if auxiliary:
        # The head reads the second reduction.
        cell = cell_plan(genotype, config)[2 * config.layers // 3]
        total += _auxiliary_params(config, output_channels(genotype, cell))
    return total


def multiply_adds(
    genotype: Genotype,
    config: NetworkConfig,
    image_size: int = 32,
    *,
    image_channels: int = 3,
) -> int:
    """Multiply-adds of one forward pass of one image.

    Convolutions and the classifier count; batch norm, pooling, additions and the
    auxiliary head do not (`MULTIPLY_ADDS_CONVENTION`).

    Args:
      genotype: its cells.
      config: its frame.
      image_size: side of the image, pixels. A side that is odd where it is halved
        counts as rounded up, in factorised reductions too.
      image_channels: channels of the images.

    Returns:
      Multiply-adds (not millions). FLOPs are about twice that.

    Raises:
      ValueError: the image has no whole, positive side.

    Source: the "+x" column of the ImageNet tables since DARTS (Liu et al., 2019).
    """
    if type(image_size) is not int or image_size < 1:
        raise ValueError(f"image_size must be a whole number > 0, got {image_size!r}.")
    convolutions = _convolutions(genotype, config, image_channels)
    total = sum(conv.multiply_adds(image_size) for conv in convolutions)
    return total + _classifier(genotype, config)


def _convolutions(genotype, config, image_channels) -> list[Convolution]:
    """All convolutions of the network but those of the auxiliary head."""
    convolutions, halvings = STEMS[config.frame](config.channels, image_channels)
    for cell in cell_plan(genotype, config):
        halvings += cell.reduction
        convolutions += _cell(genotype, cell, halvings)
    return convolutions


def _cifar_stem(channels, image_channels):
    """Convolutions before the cells, and the halvings of what they hand over."""
    return [Convolution((3, 3), image_channels, 3 * channels, (0, 0))], 0


def _imagenet_stem(channels, image_channels):
    widths = (image_channels, channels // 2, channels, channels)
    convolutions = [
        Convolution((3, 3), fan_in, fan_out, (index + 1, index + 1))
        for index, (fan_in, fan_out) in enumerate(zip(widths, widths[1:], strict=False))
    ]
    return convolutions, len(convolutions)


STEMS = {"cifar": _cifar_stem, "imagenet": _imagenet_stem}


def _cell(genotype: Genotype, cell: CellPlan, after: int) -> list[Convolution]:
    """Convolutions of one cell whose output was halved `after` times."""
    channels = cell.channels
    convolutions = preprocessing(cell, after - cell.reduction)
    for pairs in genotype.blocks(cell.kind):
        for primitive, source in pairs:
            strided = cell.reduction and source < 2
            convolutions += PRIMITIVE_CONVOLUTIONS[primitive](channels, after, strided)
    return convolutions


def preprocessing(cell: CellPlan, before: int) -> list[Convolution]:
    """What brings a cell's inputs, halved `before` times, to its channels."""
    older = _factorized_reduce if cell.reduced_before else _pointwise
    return [
        *older(cell.inputs[0], cell.channels, before),
        *_pointwise(cell.inputs[1], cell.channels, before),
    ]


def _pointwise(fan_in, fan_out, after):
    return [Convolution((1, 1), fan_in, fan_out, (after, after))]


def _factorized_reduce(fan_in, fan_out, after):
    """Two pointwise convolutions of every second pixel, half of the channels each."""
    return 2 * _pointwise(fan_in, fan_out // 2, after)


# Below, one function per primitive: (C, halvings of its output, whether it has
# stride 2) -> its convolutions.


def _nothing(channels, after, strided):
    del channels, after, strided  # neither weights nor convolutions
    return []


def _skip_connect(channels, after, strided):
    return _factorized_reduce(channels, channels, after) if strided else []


def _dil_conv(side, channels, after, strided):
    """Depthwise, then pointwise; dilation and stride change no count."""
    del strided
    depthwise = Convolution(
        (side, side), channels, channels, (after, after), groups=channels, norm=False
    )
    return [depthwise, *_pointwise(channels, channels, after)]


def _sep_conv(side, channels, after, strided):
    """Twice the depthwise and the pointwise; the first pair is the strided one."""
    return 2 * _dil_conv(side, channels, after, strided)


def _conv_7x1_1x7(channels, after, strided):
    """1x7, which strides along the width alone, then 7x1 along the height."""
    between = (after - strided, after)
    return [
        Convolution((1, 7), channels, channels, between, norm=False),
        Convolution((7, 1), channels, channels, (after, after)),
    ]


def _nor_conv(side, channels, after, strided):
    del strided
    return [Convolution((side, side), channels, channels, (after, after))]


PRIMITIVE_CONVOLUTIONS = {
    "none": _nothing,
    "avg_pool_3x3": _nothing,
    "max_pool_3x3": _nothing,
    "skip_connect": _skip_connect,
    "sep_conv_3x3": functools.partial(_sep_conv, 3),
    "sep_conv_5x5": functools.partial(_sep_conv, 5),
    "sep_conv_7x7": functools.partial(_sep_conv, 7),
    "dil_conv_3x3": functools.partial(_dil_conv, 3),
    "dil_conv_5x5": functools.partial(_dil_conv, 5),
    "conv_7x1_1x7": _conv_7x1_1x7,
    "nor_conv_1x1": functools.partial(_nor_conv, 1),
    "nor_conv_3x3": functools.partial(_nor_conv, 3),
}


def _classifier(genotype, config):
    """Weights of the classifier without its bias: one multiply-add each."""
    last = cell_plan(genotype, config)[-1]
    return output_channels(genotype, last) * config.num_classes


def _auxiliary_params(config, channels):
    """Weights of the auxiliary head: two convolutions and a classifier."""
    hidden, features = 128, 768
    # Batch norm of the second convolution is left out on ImageNet, as in DARTS.
    second_norm = config.frame == "cifar"
    convolutions = [
        *_pointwise(channels, hidden, 0),
        Convolution((2, 2), hidden, features, (0, 0), norm=second_norm),
    ]
    classifier = (features + 1) * config.num_classes
    return sum(conv.params for conv in convolutions) + classifier
