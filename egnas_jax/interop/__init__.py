"""Converts weights of torch networks of the DARTS family to and from our variables.

Names and layouts are those of model.py, model_search.py and operations.py: images
[N, C, H, W], kernels [out, in / groups, height, width]. Weights are numpy arrays, so
torch need not be installed.
"""

from egnas_jax.interop.network import network_from_torch, network_to_torch
from egnas_jax.interop.supernet import primitive_from_torch, supernet_from_torch

__all__ = [
    "network_from_torch",
    "network_to_torch",
    "primitive_from_torch",
    "supernet_from_torch",
]
