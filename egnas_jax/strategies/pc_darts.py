"""Implements PC-DARTS: first-order DARTS with partial channels and edge normalisation.

A quarter of the channels goes through the primitives (`supernet.partial_channels`). A
node weighs its incoming edges by a softmax of beta, which learns beside alpha and
steadies the choice of edges. Both stand still while the weights warm up.

Source: PC-DARTS (Xu et al., ICLR 2020); model_search.py and train_search.py of its
reference: Adam(6e-4, betas 0.5 and 0.999) with weight decay 1e-3 on alpha and beta,
15 epochs of warm-up.

Dims: E edges, K primitives.
"""

import dataclasses
from typing import ClassVar

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from egnas_jax.nn.supernet import Supernet
from egnas_jax.search.cost import FORWARD_BACKWARD, Passes
from egnas_jax.search.gradients import alpha_gradient
from egnas_jax.search.relax import initial_alpha, softmax_mixing
from egnas_jax.search.strategy import Strategy, Trainee
from egnas_jax.settings import LARGEST_INT, check_ranges
from egnas_jax.space import SPACES, Space
from egnas_jax.strategies.alpha_adam import (
    AdamHyperparams,
    adam,
    check_adam,
    optimizer_step,
)
from egnas_jax.types import Array, Batch, Key, Mixing, PyTree


@dataclasses.dataclass(frozen=True)
class PCDARTSConfig:
    """The settings of PC-DARTS.

    Attributes:
      learning_rate, beta1, weight_decay: of Adam on alpha and beta.
      batch_size: validation images of one step.
      warmup: first epochs, in which alpha and beta do not move.

    Raises:
      ValueError: a number out of its range.
    """

    learning_rate: float = 6e-4
    beta1: float = 0.5
    weight_decay: float = 1e-3
    batch_size: int = 256
    warmup: int = 15

    individuals: ClassVar[None] = None

    def __post_init__(self):
        check_adam(self)
        ranges = {"batch_size": (1, LARGEST_INT), "warmup": (0, LARGEST_INT)}
        check_ranges(self, ranges, "strategy.")

    @property
    def valid_batch_size(self) -> int:
        """Validation images of one update."""
        return self.batch_size

    @property
    def hyperparams(self) -> AdamHyperparams:
        """The numbers that affect no shape."""
        return AdamHyperparams(self.learning_rate, self.beta1, self.weight_decay)


@flax.struct.dataclass
class PCDARTSState:
    """What PC-DARTS carries.

    Attributes:
      alpha: cell kind -> f32[E, K].
      beta: cell kind -> f32[E].
      optimizer: Adam's state for both.
    """

    alpha: dict[str, Array]
    beta: dict[str, Array]
    optimizer: PyTree


def pc_darts(net: Supernet, config: PCDARTSConfig) -> Strategy:
    """Makes PC-DARTS a strategy of the search loop."""
    space = SPACES[net.config.space]

    def init(key: Key, hyperparams: AdamHyperparams) -> PCDARTSState:
        key_alpha, key_beta = jax.random.split(key)
        alpha = initial_alpha(key_alpha, space)
        shape = len(space.kinds), space.num_edges
        rows = 1e-3 * jax.random.normal(key_beta, shape)
        beta = dict(zip(space.kinds, rows, strict=True))
        return PCDARTSState(alpha, beta, adam(hyperparams).init((alpha, beta)))

    def incumbent(state: PCDARTSState) -> Mixing:
        return edge_normalised_mixing(space, state.alpha, state.beta)

    def mixing(key: Key, state: PCDARTSState) -> Mixing:
        del key
        return incumbent(state)

    def update(
        key: Key,
        state: PCDARTSState,
        hyperparams: AdamHyperparams,
        trainee: Trainee,
        *,
        train_batch: Batch,
        valid_batch: Batch,
    ) -> tuple[PCDARTSState, dict[str, Array]]:
        del train_batch  # first order: the weights do not move

        def step():
            arguments = trainee.variables, valid_batch
            return _adam_step(net, state, hyperparams, *arguments, key=key)

        return lax.cond(trainee.epoch >= config.warmup, step, lambda: state), {}

    def metrics(state: PCDARTSState) -> dict[str, Array]:
        edges = incumbent(state).edges
        return {
            f"edge_entropy_{kind}": edge_entropy(space, edges[kind]) for kind in edges
        }

    return Strategy(
        update_every="step",
        init=init,
        mixing=mixing,
        update=update,
        incumbent=incumbent,
        hyperparams=config.hyperparams,
        metrics=metrics,
        passes=Passes(valid=FORWARD_BACKWARD, warmup=config.warmup),
    )


def _adam_step(net, state, hyperparams, variables, batch, *, key) -> PCDARTSState:
    """The state after one step on alpha and beta, the weights constant."""
    space = SPACES[net.config.space]

    def mixing_of(sources):
        return edge_normalised_mixing(space, *sources)

    sources = state.alpha, state.beta
    gradient = alpha_gradient(net, mixing_of, sources, variables, batch, key=key)
    (alpha, beta), optimizer = optimizer_step(
        adam(hyperparams), gradient, state.optimizer, sources
    )
    return PCDARTSState(alpha, beta, optimizer)


def edge_normalised_mixing(
    space: Space, alpha: dict[str, Array], beta: dict[str, Array]
) -> Mixing:
    """Returns softmax(alpha) on every edge, and the edges weighed within their node.

    The genotype follows from alpha's weights times beta's: `space.derive` reads both.

    Args:
      space: has the edges.
      alpha: cell kind -> f32[E, K].
      beta: cell kind -> f32[E].
    """
    edges = {kind: node_softmax(space, row) for kind, row in beta.items()}
    return softmax_mixing(alpha, space).replace(edges=edges)


def node_softmax(space: Space, beta: Array) -> Array:
    """Returns the softmax of beta over the incoming edges of each node, f32[E].

    Args:
      space: has the edges, in groups of one target.
      beta: f32[E].
    """
    parts = jnp.split(beta, _first_edges(space)[1:])
    return jnp.concatenate([jax.nn.softmax(part) for part in parts])


def edge_entropy(space: Space, edges: Array) -> Array:
    """Returns the mean entropy of the nodes' edge weights, in nats.

    Args:
      space: has the edges.
      edges: result of `node_softmax`, f32[E].
    """
    return -jnp.sum(jax.scipy.special.xlogy(edges, edges)) / len(_first_edges(space))


def _first_edges(space: Space) -> np.ndarray:
    """The position of the first edge into each node."""
    targets = [target for _, target in space.edges]
    return np.unique(targets, return_index=True)[1]
