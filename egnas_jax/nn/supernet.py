"""Builds the search network, as two pure functions.

A supernet never sees alpha. It takes a `Mixing`, so one network serves every search
method, and `jax.vmap` over that argument alone evaluates a population of mixings.

The space's macro structure decides on the network around the cells: that of DARTS is in
darts_supernet.py, that of NAS-Bench-201 in topology_supernet.py.

Dims: N images, H, W sides, C channels.
"""

import dataclasses
import functools
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Float

from egnas_jax.nn import darts_supernet, lowering, topology_supernet
from egnas_jax.nn.drawing_keys import pass_key
from egnas_jax.nn.drop_path import EdgeDropout
from egnas_jax.nn.init import draw
from egnas_jax.nn.primitives import check_primitives, draws_numbers
from egnas_jax.nn.skip_dropout import SkipDropout
from egnas_jax.nn.supernet_config import SupernetConfig, cells_of, groups_of
from egnas_jax.space import SPACES, Space
from egnas_jax.space.mixing_arrays import check_mixing
from egnas_jax.types import Array, Key, Mixing, PyTree

__all__ = [
    "Supernet",
    "SupernetApply",
    "SupernetConfig",
    "SupernetInit",
    "cells_of",
    "check_image_shape",
    "groups_of",
    "halvings_of",
    "leaves_of",
    "make_supernet",
]


# macro structure -> the module that describes and runs its networks
NETWORKS = {"darts": darts_supernet, "nasbench201": topology_supernet}


class SupernetInit(Protocol):
    def __call__(
        self, key: Key, image_shape: tuple[int, int, int] = (32, 32, 3)
    ) -> PyTree:
        """Draws the initial variables of a supernet.

        Args:
          key: random key.
          image_shape: (H, W, C) of the images.

        Returns:
          {"params", "batch_stats"}, all leaves f32.

        Raises:
          ValueError: the sides of the images cannot be halved as often as the network
            does, which is twice without a list of stages.
        """


class SupernetApply(Protocol):
    def __call__(
        self,
        variables: PyTree,
        images: Float[Array, "N H W C"],
        mixing: Mixing,
        train: bool = False,
        many_mixings: bool = False,
        *,
        dropout: EdgeDropout | SkipDropout | None = None,
        key: Key | None = None,
    ) -> tuple[Float[Array, "N classes"], PyTree]:
        """Runs the supernet on a batch of images under one mixing.

        Args:
          variables: {"params", "batch_stats"} of `SupernetInit`.
          images: the batch, f32 and normalised.
          mixing: weights of the primitives and of the edges.
          train: whether norms use the batch's statistics and update the running ones.
          many_mixings: whether the caller loops over many mixings on these images. The
            first group of equal cells then runs without a loop of its own, so that XLA
            moves out of the caller's loop what does not depend on the mixing: the stem
            and most primitives of the first cell. The values are equal up to rounding.
          dropout: drops edges of single images, or elements behind skips, in training
            and in the macro structure of DARTS alone; None: drops none.
          key: random key of the primitives that draw, in a space that has any; None: a
            constant one, so that the result is a function of the other arguments.

        Returns:
          Logits f32[N, classes] and the new batch_stats; in evaluation the batch_stats
          that were passed.

        Raises:
          ValueError: the sides of the images cannot be halved so often; the images are
            whole numbers, which are not normalised; or the mixing lacks a kind of
            cell, or has arrays for other numbers of edges and primitives than the
            space.
        """


class Supernet(NamedTuple):
    """A search network as pure functions.

    Attributes:
      config: its configuration.
      init: draws the initial variables.
      apply: runs the network.
      mesh: devices that share the work on populations and batches; None for one device.
      draws: whether a primitive of the space draws random numbers, so that training
        passes are given a key.
      shards: parts into which each population and each batch is divided whatever the
        number of devices (`training.shards`); None: the devices divide them.
    """

    config: SupernetConfig
    init: SupernetInit
    apply: SupernetApply
    mesh: jax.sharding.Mesh | None = None
    draws: bool = False
    shards: int | None = None


def make_supernet(config: SupernetConfig) -> Supernet:
    """Makes the supernet of a configuration.

    Equal configurations of equal spaces give the same functions, so that JAX reuses
    compiled programs.

    Raises:
      ValueError: a primitive of a user's own cannot be traced, or returns what it must
        not.
    """
    return _made(config, SPACES[config.space])


@functools.cache
def _made(config: SupernetConfig, space: Space) -> Supernet:
    active = config.channels // config.partial_channels
    check_primitives(space.primitives, active, config.dtype)
    forward = NETWORKS[space.macro].forward
    draws = draws_numbers(space.primitives)
    halvings = halvings_of(config)

    def init(key: Key, image_shape: tuple[int, int, int] = (32, 32, 3)) -> PyTree:
        check_image_shape(image_shape, halvings)
        leaves = leaves_of(config, image_shape[-1])
        return {name: draw(key, tree) for name, tree in leaves.items()}

    def apply(
        variables: PyTree,
        images: Float[Array, "N H W C"],
        mixing: Mixing,
        train: bool = False,
        many_mixings: bool = False,
        *,
        dropout: EdgeDropout | SkipDropout | None = None,
        key: Key | None = None,
    ) -> tuple[Float[Array, "N classes"], PyTree]:
        check_image_shape(images.shape[1:], halvings)
        _check_normalised(images)
        check_mixing(space, mixing)
        way = lowering.for_images(config.lowering, images.shape[1:3])
        used = dataclasses.replace(config, lowering=way)
        # the networks of other macro structures have no dropout
        optional = {} if dropout is None else {"dropout": dropout}
        options = {"train": train, "many_mixings": many_mixings, **optional}
        if draws:
            options["key"] = pass_key(key)
        return forward(used, variables, images, mixing, **options)

    return Supernet(config, init, apply, draws=draws)


def leaves_of(config: SupernetConfig, image_channels: int) -> PyTree:
    """The leaves of a supernet: {"params", "batch_stats"}, trees of `nn.init.Leaf`."""
    return NETWORKS[SPACES[config.space].macro].leaves_of(config, image_channels)


def halvings_of(config: SupernetConfig) -> int:
    """Returns how often a supernet halves the image: twice, or as its stages say."""
    if SPACES[config.space].stages is None:
        return 2
    return sum(cell.reduction for cell in cells_of(config))


def _check_normalised(images: Array):
    """Refuses whole numbers, such as pixels from 0 to 255."""
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(
            f"The images are {images.dtype}, but a supernet takes normalised floating "
            f"point images. Give (images / 255 - mean) / std, with the mean and "
            f"standard deviation of each channel. `egnas_jax.search_data(...)` has the "
            f"method `valid_batch`, which returns such images."
        )


def check_image_shape(shape: tuple[int, ...], halvings: int) -> None:
    """Refuses images that a supernet cannot halve as often as it does.

    Args:
      shape: (H, W, C) of the images.
      halvings: of `halvings_of`.

    Raises:
      ValueError: the shape is not three numbers, or a side is not a positive multiple
        of 2^halvings.
    """
    step = 2**halvings
    if len(shape) == 3 and all(side and side % step == 0 for side in shape[:2]):
        return
    fitting = "x".join(str(max(step, -(-side // step) * step)) for side in shape[:2])
    raise ValueError(
        f"Images of shape {tuple(shape)} do not fit a supernet: it takes [H, W, C] "
        f"with H and W divisible by {step}, as it halves them {halvings} times. Pad, "
        f"crop or resize the images, e.g. to {fitting}."
    )
