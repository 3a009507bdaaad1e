"""Reads search networks of the DARTS family (model_search.py in torch)."""

from collections.abc import Iterator, Mapping

import jax
import numpy as np

from egnas_jax.interop import places
from egnas_jax.interop.places import Place
from egnas_jax.nn.cell import out_edges
from egnas_jax.nn.primitives import PRIMITIVES, with_pool_norm
from egnas_jax.nn.supernet import SupernetConfig, cells_of, groups_of, make_supernet
from egnas_jax.space import SPACES
from egnas_jax.types import PyTree


def supernet_from_torch(
    weights: Mapping[str, np.ndarray], config: SupernetConfig
) -> PyTree:
    """Variables of a supernet from the weights of a torch search network.

    Args:
      weights: torch parameter and buffer names ("cells.0._ops.0._ops.3.op.1.weight")
        -> arrays, without the alphas.
      config: of the network that the weights belong to.

    Returns:
      {"params", "batch_stats"} for `make_supernet(config).apply`.

    Raises:
      ValueError: a name is missing, unexpected or has another shape than the
        configuration asks for; the space is not of the DARTS family.
    """
    if SPACES[config.space].family != "darts":
        raise ValueError(
            f"The space is {config.space}, but torch weights can only be read for "
            f"spaces of the DARTS family."
        )
    image_shape = (32, 32, places.image_channels(weights, "stem.0.weight"))
    leaves = jax.eval_shape(
        lambda key: make_supernet(config).init(key, image_shape), jax.random.key(0)
    )
    settings = "channels, layers, num_classes, partial_channels, space and pool_bn"
    return places.read(_places(config), weights, leaves, settings)


def primitive_from_torch(
    weights: Mapping[str, np.ndarray], primitive: str
) -> tuple[PyTree, PyTree]:
    """Parameters and statistics of one candidate operation, without an edge axis.

    Args:
      weights: torch names inside the operation ("op.1.weight") -> arrays. They decide
        on the number of channels, and on whether norms have scale and shift.
      primitive: name of the operation.

    Raises:
      ValueError: a name is missing or unexpected, or a weight has another shape than
        the channels of the others ask for.
    """
    pool_bn = bool(weights) and "pool" in primitive
    make = with_pool_norm if pool_bn else PRIMITIVES.__getitem__
    channels = max((np.shape(weight)[0] for weight in weights.values()), default=1)
    stride = 2 if weights else 1  # a skip connection has weights only with stride 2
    affine = any(name.endswith(".bias") for name in weights)
    trees = make(primitive).init(1, channels, stride, affine)
    leaves = dict(zip(("params", "batch_stats"), trees, strict=True))
    variables = places.read(
        places.primitive(primitive, "", (), (0,), channels),
        weights,
        leaves,
        "the primitive and its channels",
    )
    variables = jax.tree.map(lambda leaf: leaf[0], variables)
    return variables["params"], variables["batch_stats"]


def _places(config: SupernetConfig) -> Iterator[Place]:
    """Every weight that such a network may have."""
    cells = cells_of(config)
    yield Place("stem.0.weight", ("params", "stem", "conv"))
    yield from places.norm("stem.1", ("stem", "norm"), (0,), stats_path=("stem",))
    for index, plan in enumerate(cells):
        path = ("preprocess", index)
        yield from places.preprocessing(plan, f"cells.{index}", path, (0,))
    for group, indices in enumerate(groups_of(config)):
        for position, index in enumerate(indices):
            path, prefix = ("groups", group), f"cells.{index}._ops"
            yield from _edges(config, cells[index], prefix, path, position)
    yield from places.classifier("classifier", ("classifier",))


def _edges(config, plan, prefix, path, position) -> Iterator[Place]:
    """The operations of a cell; `position` is the cell's place in its group."""
    space = SPACES[config.space]
    for source, outgoing in enumerate(out_edges(space, plan.reduction)):
        for row, edge in enumerate(outgoing.edges):
            for number, name in enumerate(space.primitives):
                # All edges that leave a state share one pooling norm.
                yield from places.primitive(
                    name,
                    f"{prefix}.{edge}._ops.{number}.",
                    (*path, source, name),
                    (position, 0 if "pool" in name else row),
                    plan.channels // config.partial_channels,
                )
