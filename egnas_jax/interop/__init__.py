"""Weights of torch checkpoints of the DARTS family, as this package's variables.

Names and layouts are those of model.py, model_search.py and operations.py: images
[N, C, H, W], kernels [out, in / groups, height, width]. No torch is needed: give numpy
arrays.
"""

from egnas_jax.interop.network import network_from_torch, network_to_torch
from egnas_jax.interop.supernet import primitive_from_torch, supernet_from_torch

__all__ = [
    "network_from_torch",
    "network_to_torch",
    "primitive_from_torch",
    "supernet_from_torch",
]
