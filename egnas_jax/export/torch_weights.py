"""Writes weights by their torch names, for `load_state_dict` of the DARTS family."""

from egnas_jax.export.description import Finished, describe
from egnas_jax.interop import network_to_torch

IMAGES_IN = "images: f32[batch, channel, height, width], normalised by mean and std"
CONTENT = "weights and statistics of the DARTS family's network, by their torch names"


def as_safetensors(finished: Finished) -> bytes:
    """A safetensors file with all weights and statistics, f32.

    They include those of the auxiliary head if the network was trained with one.
    """
    from safetensors.numpy import save

    weights = network_to_torch(finished.variables, finished.genotype, finished.config)
    # Other readers of safetensors look for "format".
    return save(weights, {"format": "pt"} | describe(finished, IMAGES_IN, CONTENT))
