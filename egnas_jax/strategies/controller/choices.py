"""The controller of a space, and the cells of its choices.

Dims: T decisions.
"""

import jax.numpy as jnp
import numpy as np

from egnas_jax.controller.cell_policy import CellShape, cell_policy
from egnas_jax.controller.edge_policy import edge_policy
from egnas_jax.controller.lstm import LSTMConfig
from egnas_jax.controller.policy import Policy
from egnas_jax.space import Space
from egnas_jax.strategies.controller.config import ControllerConfig
from egnas_jax.strategies.discrete.cells import cells_of
from egnas_jax.types import Array


def policy_of(space: Space, config: ControllerConfig) -> Policy:
    """The controller of a space: over two edges a node, or over all edges.

    Raises:
      ValueError: a bias of convolutions is set, and the space has no such convolution.
    """
    lstm = LSTMConfig(
        hidden=config.hidden, conv_bias=config.conv_bias, fixed_bias=config.fixed_bias
    )
    cells = cells_of(space)
    allowed, counts = cells.allowed, cells.unequal
    num_kinds, num_edges, num_allowed = allowed.shape
    if not space.keeps_two_edges:
        _check_no_biases(space, config)
        numbers = None if counts is None else counts.reshape(-1).tolist()
        return edge_policy(lstm, num_kinds * num_edges, num_allowed, numbers)
    is_conv = np.array([name.startswith("sep_conv") for name in space.primitives])
    shape = CellShape(
        num_kinds=num_kinds,
        num_nodes=space.num_nodes,
        num_primitives=num_allowed,
        num_inputs=space.num_inputs,
        convolutions=tuple(np.flatnonzero(is_conv[allowed].all(axis=(0, 1))).tolist()),
        sources=_sources(space),
        counts=None if counts is None else _counts_by_source(space, counts),
    )
    return cell_policy(lstm, shape)


def _check_no_biases(space: Space, config: ControllerConfig) -> None:
    """Refuses biases that the controller over all edges of a cell does not have."""
    for name in ("conv_bias", "fixed_bias"):
        value = getattr(config, name)
        if value != getattr(ControllerConfig, name):
            raise ValueError(
                f"strategy.{name} is {value}, but in the space {space.name}, whose "
                f"cells keep all edges, the controller has no biases of separable "
                f"convolutions. Leave it out."
            )


def _counts_by_source(space: Space, counts: np.ndarray) -> tuple:
    """The numbers of primitives by kind, node and source; 1 where there is no edge."""
    table = np.ones(
        (len(counts), space.num_nodes, space.num_inputs + space.num_nodes), int
    )
    for edge, (source, target) in enumerate(space.edges):
        table[:, target - space.num_inputs, source] = counts[:, edge]
    return tuple(tuple(tuple(row) for row in rows) for rows in table.tolist())


def cell_of_choices(space: Space, choices: Array) -> Array:
    """The cell (see `cells`) of choices i32[T] in the order of the decisions."""
    if not space.keeps_two_edges:
        return choices
    # [kind, node, what, slot], where what is the source or the primitive
    decisions = choices.reshape(len(space.kinds), space.num_nodes, 2, 2)
    cell = jnp.swapaxes(decisions, 2, 3)
    if (sources := _sources(space)) is None:
        return cell
    index = np.zeros((space.num_nodes, space.num_inputs + space.num_nodes), np.int32)
    for node, allowed in enumerate(sources):
        index[node, list(allowed)] = np.arange(len(allowed))
    nodes = np.arange(space.num_nodes)[:, None]
    return cell.at[..., 0].set(jnp.asarray(index)[nodes, cell[..., 0]])


def _sources(space: Space) -> tuple[tuple[int, ...], ...] | None:
    """The sources that each node has edges from; None where it has all before it."""
    sources = tuple(
        tuple(space.edges[edge][0] for edge in space.in_edges(node))
        for node in space.nodes
    )
    complete = all(len(s) == t for s, t in zip(sources, space.nodes, strict=True))
    return None if complete else sources
