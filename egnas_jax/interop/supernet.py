"""Reads search networks of the DARTS family (model_search.py in torch)."""

import logging
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from egnas_jax.interop import places, transfer
from egnas_jax.interop.checkpoints import FIRST_CELL_KERNEL, Note, network_weights
from egnas_jax.interop.places import Place
from egnas_jax.lookup import check_known
from egnas_jax.nn.cell_spec import out_edges
from egnas_jax.nn.primitives import kernel_of
from egnas_jax.nn.supernet import SupernetConfig, cells_of, groups_of, make_supernet
from egnas_jax.space import SPACES
from egnas_jax.space.base import DARTS_PRIMITIVES
from egnas_jax.space.primitive_names import FAMILIES
from egnas_jax.types import PyTree

FIRST_KERNEL = "stem.0.weight"
ANCHORS = (FIRST_KERNEL, FIRST_CELL_KERNEL)  # by which a network is recognised
ALPHAS = re.compile(r"_?(alphas?|betas?)(_|$)")  # alphas_normal, betas_reduce
OF_DERIVED = re.compile(r"cells\.\d+\._ops\.\d+\.(op|\d+|conv_\d|bn)\.")


def supernet_from_torch(
    weights: Mapping[str, Any], config: SupernetConfig, *, log: Note | None = None
) -> PyTree:
    """Variables of a supernet from the weights of a torch search network.

    Args:
      weights: torch parameter and buffer names ("cells.0._ops.0._ops.3.op.1.weight")
        -> arrays. A checkpoint with an entry that holds them is read too; a prefix that
        all names share, such as `module.`, and the alphas are left out.
      config: of the network that the weights belong to.
      log: called with a note on what was left out; None: the logger "egnas_jax" gets
        it as a warning.

    Returns:
      {"params", "batch_stats"} for `make_supernet(config).apply`.

    Raises:
      ValueError: the weights are not found in a checkpoint; a name is missing,
        unexpected or has another shape than the configuration asks for; the space is
        not of the DARTS family, or the supernet is pruned.
    """
    space = SPACES[config.space]
    if space.macro != "darts":
        raise ValueError(
            f"The space is {config.space}, but torch weights can only be read for "
            f"spaces with the macro structure of DARTS."
        )
    if config.live is not None or space.live is not None:
        raise ValueError(
            "Torch weights can only be read for a supernet whose edges have all "
            "primitives. Leave `live` of its configuration out, and take a space whose "
            "edges have the same primitives."
        )
    log = log or logging.getLogger("egnas_jax").warning
    weights = _without_alphas(network_weights(weights, ANCHORS, log), log)
    if any(map(OF_DERIVED.match, weights)):
        raise ValueError(
            "These are the weights of a network that was trained from a genotype, not "
            "of a search network. Read them by network_from_torch."
        )
    image_shape = (32, 32, places.image_channels(weights, FIRST_KERNEL))
    leaves = jax.eval_shape(
        lambda key: make_supernet(config).init(key, image_shape), jax.random.key(0)
    )
    settings = "channels, layers, num_classes, partial_channels, space and pool_bn"
    return transfer.read(_places(config), weights, leaves, settings)


def _without_alphas(weights: Mapping[str, Any], log: Note) -> dict[str, Any]:
    """The weights without the architecture's parameters, which some networks hold."""
    alphas = [name for name in weights if ALPHAS.match(name)]
    if alphas:
        log(f"{', '.join(alphas)} are no weights of the network and are left out.")
    return {name: weight for name, weight in weights.items() if name not in alphas}


def primitive_from_torch(
    weights: Mapping[str, Any], primitive: str, *, log: Note | None = None
) -> tuple[PyTree, PyTree]:
    """Parameters and statistics of one candidate operation, without an edge axis.

    Args:
      weights: torch names inside the operation ("op.1.weight") -> arrays. They decide
        on the number of channels, and on whether norms have scale and shift. A prefix
        that all names share is left out.
      primitive: name of the operation, one of the DARTS family.
      log: see `supernet_from_torch`.

    Raises:
      ValueError: the primitive is none of the DARTS family; a name is missing or
        unexpected; or a weight has another shape than the channels of the others ask
        for.
    """
    check_known(dict.fromkeys(DARTS_PRIMITIVES), primitive, "primitive of torch")
    anchors = [place.name for place in places.primitive(primitive, "", (), (0,), 1)]
    weights = network_weights(weights, anchors, log)
    pool_bn = bool(weights) and FAMILIES[primitive] == "pool"
    shapes = filter(None, map(np.shape, weights.values()))  # counters have none
    channels = max((shape[0] for shape in shapes), default=1)
    stride = 2 if weights else 1  # a skip connection has weights only with stride 2
    affine = any(name.endswith(".bias") for name in weights)
    trees = kernel_of(primitive, pool_bn).init(1, channels, stride, affine)
    leaves = dict(zip(("params", "batch_stats"), trees, strict=True))
    variables = transfer.read(
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
                    (position, 0 if FAMILIES[name] == "pool" else row),
                    plan.channels // config.partial_channels,
                )
