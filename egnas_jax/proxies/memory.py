"""Chooses how many cells a proxy scores at a time, so that they fit the memory.

Dims: P cells, N images.
"""

import math
from collections.abc import Callable

import jax

from egnas_jax.nn.init import is_leaf
from egnas_jax.nn.supernet import SupernetConfig, leaves_of
from egnas_jax.proxies.table import PROXIES
from egnas_jax.training import memory_model, out_of_memory

# A Hessian times a vector takes so many times what a gradient takes: XLA reserved 4.9
# times as much for 5 cells of NAS-Bench-201.
HESSIAN = 5.0
COPIES = 4  # of a cell's variables: kernels, gradients and products of both
UNKNOWN = 64  # cells at a time where the device does not report its memory


def cells_at_a_time(
    name: str,
    config: SupernetConfig,
    image_shape: tuple[int, ...],
    images: int,
    cells: int,
    *,
    free_bytes: Callable[[], int | None] = out_of_memory.free_bytes,
) -> int:
    """Returns how many cells a proxy scores at a time by default.

    That is one on a CPU, where kernels of many cells make grouped convolutions, which
    are slow; and as many as its free memory holds on an accelerator.

    Args:
      name: a key of `PROXIES`.
      config: of the supernet.
      image_shape: (H, W, C).
      images: N.
      cells: P.
      free_bytes: () -> free memory of the device, or None where it is unknown.
    """
    if jax.default_backend() == "cpu":
        return 1
    free = free_bytes()
    if free is None:
        return min(cells, UNKNOWN)
    each = cell_bytes(name, config, image_shape, images)
    return memory_model.fitting_number(cells, each, free)


def cell_bytes(
    name: str, config: SupernetConfig, image_shape: tuple[int, ...], images: int
) -> int:
    """Returns the bytes that the score of one cell takes.

    Args:
      name, config, image_shape, images: see `cells_at_a_time`.
    """
    proxy = PROXIES[name]
    kernels = COPIES * weight_bytes(config, image_shape[-1])
    if not proxy.passes:  # shapes and kernels are all that is read
        return kernels
    frame = config, max(image_shape[:2]), proxy.images_read(images)
    if "hessian" in proxy.needs:
        arrays = HESSIAN * memory_model.gradient_bytes(*frame)
    elif "gradient" in proxy.needs:
        arrays = memory_model.gradient_bytes(*frame)
    else:
        # zen compares two passes, which XLA runs side by side
        arrays = proxy.passes * memory_model.individual_bytes(*frame)
    return round(arrays) + kernels


def weight_bytes(config: SupernetConfig, image_channels: int) -> int:
    """Returns the bytes of a supernet's variables, 4 for each number.

    Args:
      config: of the supernet.
      image_channels: 1 or 3.
    """
    leaves = jax.tree.leaves(leaves_of(config, image_channels), is_leaf=is_leaf)
    return 4 * sum(math.prod(leaf.shape) for leaf in leaves)
