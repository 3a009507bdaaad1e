"""Defines what is exported, and describes it in words for readers of the files."""

import dataclasses
import json
from typing import NamedTuple

from egnas_jax.nn.network_config import NetworkConfig
from egnas_jax.space import Genotype, Topology
from egnas_jax.types import PyTree


class Finished(NamedTuple):
    """A trained network and the images that it takes.

    Attributes:
      genotype, config: of the network.
      variables: {"params", "batch_stats"}.
      image_shape: [H, W, C].
      mean, std: of each channel, for pixels in [0, 1].
      class_names: one for each class, or None.
    """

    genotype: Genotype | Topology
    config: NetworkConfig
    variables: PyTree
    image_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_names: tuple[str, ...] | None


# For formats that hold a whole program.
PIXELS_IN = (
    "images: u8[batch, height, width, channel], pixels 0..255; the file normalises them"
)
LOGITS_OUT = (
    "logits: f32[batch, class], before the softmax; by running statistics, without the "
    "auxiliary head"
)


def describe(
    finished: Finished, image: str = PIXELS_IN, output: str = LOGITS_OUT
) -> dict[str, str]:
    """What a user of the file needs to know, by name.

    All values are text; lists and dictionaries are JSON.

    Args:
      finished: the network.
      image: what the file takes, in words.
      output: what it returns, in words.
    """
    height, width, channels = finished.image_shape
    return {
        "made_by": "egnas_jax",
        "genotype": finished.genotype.format(),
        "network": json.dumps(dataclasses.asdict(finished.config)),
        "num_classes": str(finished.config.num_classes),
        "class_names": json.dumps(finished.class_names),
        "image_height": str(height),
        "image_width": str(width),
        "image_channels": str(channels),
        "mean": json.dumps(finished.mean),
        "std": json.dumps(finished.std),
        "normalisation": "(pixel / 255 - mean) / std, channel by channel",
        "input": image,
        "output": output,
    }
