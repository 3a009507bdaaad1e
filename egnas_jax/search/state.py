"""Describes what a search is made of, its data, and the state that it carries.

All that differs between two searches of one problem is in arrays, so `jax.vmap` over
states and hyperparameters runs several searches side by side.

Dims: N images, H, W height and width in pixels, C channels, E edges, K primitives.
"""

from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

from egnas_jax.data.augment import normalise
from egnas_jax.data.config import DataConfig
from egnas_jax.data.dataset import LabelledImages
from egnas_jax.nn.supernet import Supernet
from egnas_jax.search.epoch_schedule import EpochSchedule
from egnas_jax.search.strategy import Strategy
from egnas_jax.search.watch import WatchConfig
from egnas_jax.training.random_streams import stream
from egnas_jax.training.sgd import SGD, make_optimizer, packing
from egnas_jax.types import Array, Batch, PyTree


class SearchProblem(NamedTuple):
    """The static parts of a search; JAX traces none of them.

    Attributes:
      net: the supernet.
      strategy: the search method.
      schedule: what happens in an epoch.
      augmentation: how training images are cropped, flipped and coloured.
      sgd: how the weights are trained.
      valid_batch_size: validation images of an update of the method.
      validation_chunk: validation images at a time; None chooses by backend.
      watch: the watch for a collapse; its number of images is a shape of a program, so
        it is static.
      one_vector: whether SGD computes with one vector of all weights, see
        `training.sgd.packing`.
      stage: of the search, from 0; each stage draws other initial weights.
    """

    net: Supernet
    strategy: Strategy
    schedule: EpochSchedule
    augmentation: DataConfig
    sgd: SGD
    valid_batch_size: int
    validation_chunk: int | None = None
    watch: WatchConfig = WatchConfig()
    one_vector: bool = False
    stage: int = 0


@flax.struct.dataclass
class SearchData:
    """The images of a search on the device; several searches share them.

    Attributes:
      train, valid: images u8[N, H, W, C] and labels i32[N] of either half. Functions
        that evaluate mixings take normalised images, as `valid_batch` returns them.
      scale: mean and standard deviation of the channels, f32[2, C].
    """

    train: LabelledImages
    valid: LabelledImages
    scale: Array

    def valid_batch(self, chosen: Array | slice = slice(None)) -> Batch:
        """Returns validation images as a supernet takes them: f32 and normalised.

        Args:
          chosen: their indices, i32[N], or a slice; by default all.
        """
        images = normalise(self.valid.images[chosen], *self.scale)
        return Batch(images, self.valid.labels[chosen])


@flax.struct.dataclass
class SearchHyperparams:
    """The numbers of one search that affect no shape.

    Attributes:
      seed: of all random streams, u32[], or the key that it stands for.
      learning_rate: of the running epoch, f32[].
      strategy: as `Strategy.hyperparams` has them.
      epochs: of the whole search, or of its stage, i32[].
      first_epoch: of the stage, i32[].
    """

    seed: Array
    learning_rate: Array
    strategy: PyTree
    epochs: Array = np.int32(1)
    first_epoch: Array = np.int32(0)


@flax.struct.dataclass
class Totals:
    """Sums over the steps of the running epoch.

    Attributes:
      loss: of the images' cross entropies, f32[].
      correct: correctly classified images, i32[].
      images: i32[].
    """

    loss: Array
    correct: Array
    images: Array


@flax.struct.dataclass
class SearchState:
    """All that a search carries; what a checkpoint holds.

    Attributes:
      params, batch_stats: of the supernet.
      optimizer: state of `make_optimizer`.
      alpha_gradient: accumulated where `alpha_in_clip` is set, cell kind -> [E, K];
        else {}.
      strategy: the method's own state.
      totals: of the running epoch.
      epoch, step: the next to run, i32[].
    """

    params: PyTree
    batch_stats: PyTree
    optimizer: PyTree
    alpha_gradient: PyTree
    strategy: PyTree
    totals: Totals
    epoch: Array
    step: Array

    @property
    def variables(self) -> PyTree:
        return {"params": self.params, "batch_stats": self.batch_stats}


def zero_totals() -> Totals:
    """Makes the sums before the first step of an epoch."""
    return Totals(jnp.zeros(()), jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))


def init_state(
    problem: SearchProblem,
    image_shape: tuple[int, int, int],
    hyperparams: SearchHyperparams,
) -> SearchState:
    """Makes the state before the first epoch, every leaf a buffer of its own.

    That of a later stage begins with the first epoch of the stage.

    Args:
      problem: what is searched.
      image_shape: (H, W, C).
      hyperparams: `seed`, `strategy` and `first_epoch` are read.
    """
    seed, strategy = hyperparams.seed, problem.strategy
    stage = problem.stage or ""  # the first has the streams of a search without stages
    variables = problem.net.init(stream(seed, f"weights{stage}"), image_shape)
    key = stream(seed, f"strategy{stage}")
    strategy_state = strategy.init(key, hyperparams.strategy)
    mixing = strategy.incumbent(strategy_state)
    gradient = jax.tree.map(jnp.zeros_like, mixing.primitives)
    state = SearchState(
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        optimizer=_no_momentum(problem, variables["params"]),
        alpha_gradient=gradient if problem.schedule.alpha_in_clip else {},
        strategy=strategy_state,
        totals=zero_totals(),
        epoch=jnp.asarray(hyperparams.first_epoch, jnp.int32),
        step=jnp.zeros((), jnp.int32),
    )
    return jax.tree.map(jnp.copy, state)  # the training donates each buffer


def _no_momentum(problem: SearchProblem, params: PyTree) -> PyTree:
    """The state of SGD before its first step, made without packing the weights."""

    def init(params):
        pack, _ = packing(params, problem.one_vector)
        return make_optimizer(problem.sgd, 0.0).init(pack(params))

    return optax.tree_utils.tree_zeros_like(jax.eval_shape(init, params))
