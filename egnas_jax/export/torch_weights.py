"""Weights under their torch names: `load_state_dict` of the DARTS family takes them."""

from egnas_jax.export.description import Finished, describe
from egnas_jax.interop import network_to_torch

TAKEN = "images: f32[batch, channel, height, width], normalised by mean and std"
GIVEN = "weights and statistics of the DARTS family's network, by their torch names"


def as_safetensors(finished: Finished) -> bytes:
    """A safetensors file of all weights and statistics, f32.

    The auxiliary head's are among them where the network was trained with one.
    """
    from safetensors.numpy import save

    weights = network_to_torch(finished.variables, finished.genotype, finished.config)
    about = describe(finished, TAKEN, GIVEN)
    # "format" is what other readers of safetensors look for
    return save(weights, {"format": "pt"} | about)
