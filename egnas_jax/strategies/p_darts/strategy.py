"""Implements P-DARTS: DARTS in stages of growing depth and fewer primitives.

A stage is first-order DARTS on a supernet of its own, whose weights and alpha are new.
After a stage every edge loses its weakest primitives, so the deeper supernets of the
next ones need about half of the memory that they would need with all primitives.
Dropout behind skips and a limit of skips in the derived cell hold skips back. The rules
that need no network are in rules.py, the plan of the stages is in config.py.

Source: P-DARTS (Chen et al., ICCV 2019); train_search.py and model_search.py of its
reference: Adam(6e-4, betas 0.5 and 0.999) with weight decay 1e-3 on alpha, whose
gradient is clipped; 25 epochs a stage, the first ten for the weights alone.

Dims: E edges, K primitives of the space.
"""

import flax.struct
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from egnas_jax.nn.skip_dropout import SkipDropout
from egnas_jax.nn.supernet import Supernet
from egnas_jax.nn.supernet_config import LivePrimitives
from egnas_jax.search.cost import FORWARD_BACKWARD, Passes
from egnas_jax.search.gradients import alpha_gradient
from egnas_jax.search.relax import initial_alpha, softmax_mixing
from egnas_jax.search.strategy import Strategy, Trainee
from egnas_jax.space import SPACES, Genotype
from egnas_jax.space.mixing_arrays import live_masks
from egnas_jax.strategies.alpha_adam import AdamHyperparams, adam, optimizer_step
from egnas_jax.strategies.p_darts.config import PDARTSConfig
from egnas_jax.strategies.p_darts.rules import (
    dropout_factor,
    limit_skips,
    live_of,
    prune,
)
from egnas_jax.types import Array, Batch, Key, Mixing, PyTree

# alpha of a primitive that an edge has lost; no step of Adam changes it in float32
LOST = -1e9


@flax.struct.dataclass
class PDARTSHyperparams(AdamHyperparams):
    """The numbers of a stage.

    Attributes:
      clip_norm: largest norm of alpha's gradient.
      warmup: first epochs, in which alpha does not move.
      initial_dropout: probability of the dropout behind skips at the start of the
        stage; `dropout_factor` says what share of it each epoch has.
    """

    clip_norm: Array | float
    warmup: Array | int
    initial_dropout: Array | float


@flax.struct.dataclass
class PDARTSState:
    """What P-DARTS carries in a stage.

    Attributes:
      alpha: cell kind -> f32[E, K]; `LOST` where the edge has lost the primitive, whose
        softmax is therefore 0.
      optimizer: Adam's state.
      skip_dropout: probability of the dropout behind skips in this epoch, f32[].
    """

    alpha: dict[str, Array]
    optimizer: PyTree
    skip_dropout: Array


def p_darts(net: Supernet, config: PDARTSConfig) -> Strategy:
    """Makes a stage of P-DARTS a strategy of the search loop.

    Args:
      net: the supernet of the stage.
      config: whose first stage it is.
    """
    space = SPACES[net.config.space]
    masks = live_masks(space, net.config.live)
    initial_dropout = config.entries("skip_dropout")[0]

    def init(key: Key, hyperparams: PDARTSHyperparams) -> PDARTSState:
        drawn = initial_alpha(key, space)
        alpha = {
            kind: jnp.where(mask, drawn[kind], LOST)
            for kind, mask in zip(space.kinds, masks, strict=True)
        }
        rate = jnp.asarray(hyperparams.initial_dropout, jnp.float32)
        return PDARTSState(alpha, adam(hyperparams).init(alpha), rate)

    def incumbent(state: PDARTSState) -> Mixing:
        return softmax_mixing(state.alpha)

    def mixing(key: Key, state: PDARTSState) -> Mixing:
        del key
        return incumbent(state)

    def update(
        key: Key,
        state: PDARTSState,
        hyperparams: PDARTSHyperparams,
        trainee: Trainee,
        *,
        train_batch: Batch,
        valid_batch: Batch,
    ) -> tuple[PDARTSState, dict[str, Array]]:
        del train_batch  # first order: the weights do not move
        factor = dropout_factor(trainee.epoch, trainee.epochs, hyperparams.warmup)
        rate = hyperparams.initial_dropout * factor
        state = state.replace(skip_dropout=rate.astype(jnp.float32))
        dropout = SkipDropout(key, rate) if initial_dropout else None

        def step():
            arguments = softmax_mixing, state.alpha, trainee.variables, valid_batch
            gradient = alpha_gradient(net, *arguments, dropout=dropout, key=key)
            return _clipped_step(gradient, state, hyperparams)

        moves = jnp.asarray(trainee.epoch, jnp.float32) >= hyperparams.warmup
        return lax.cond(moves, step, lambda: state), {}

    def derive(mixing: Mixing) -> Genotype:
        weights = [np.asarray(mixing.primitives[kind]) for kind in space.kinds]
        return _genotype(net, weights, config.max_skips)

    def prune_edges(mixing: Mixing) -> LivePrimitives:
        dropped = int(masks[0, 0].sum()) - config.entries("kept")[0]
        rows = (np.asarray(mixing.primitives[kind]) for kind in space.kinds)
        pruned = [
            prune(space, weights, live, dropped, last=False)
            for weights, live in zip(rows, masks, strict=True)
        ]
        return live_of(np.stack(pruned))

    return Strategy(
        update_every="step",
        init=init,
        mixing=mixing,
        update=update,
        incumbent=incumbent,
        hyperparams=_hyperparams(config),
        derive=derive,
        metrics=lambda state: {"skip_dropout": state.skip_dropout},
        permutes_valid=config.valid_batches == "permuted",
        skip_dropout=(lambda state: state.skip_dropout) if initial_dropout else None,
        prune=prune_edges,
        passes=Passes(valid=FORWARD_BACKWARD, warmup=config.warmup),
    )


def _hyperparams(config: PDARTSConfig) -> PDARTSHyperparams:
    """The numbers of the configuration's first stage."""
    return PDARTSHyperparams(
        learning_rate=config.learning_rate,
        beta1=config.beta1,
        weight_decay=config.weight_decay,
        clip_norm=config.clip_norm,
        warmup=config.warmup,
        initial_dropout=config.entries("skip_dropout")[0],
    )


def _clipped_step(gradient, state, hyperparams) -> PDARTSState:
    """The state after one step of Adam along a gradient, which is clipped first."""
    clip = optax.clip_by_global_norm(hyperparams.clip_norm)
    gradient, _ = clip.update(gradient, clip.init(gradient))
    alpha, optimizer = optimizer_step(
        adam(hyperparams), gradient, state.optimizer, state.alpha
    )
    return state.replace(alpha=alpha, optimizer=optimizer)


def _genotype(net: Supernet, weights: list, max_skips: int | None) -> Genotype:
    """The genotype of some weights [E, K] by kind, one primitive left on each edge."""
    space, cells = SPACES[net.config.space], {}
    for kind, rows, live in zip(
        space.kinds, weights, live_masks(space, net.config.live), strict=True
    ):
        dropped = int(live[0].sum()) - 1
        limit = max_skips if kind == "normal" else None
        cell = limit_skips(space, rows, live, dropped, limit=limit)
        cells[kind] = cell.pairs(space)
    nodes = space.output_nodes
    return Genotype(cells["normal"], nodes, cells["reduce"], nodes)
