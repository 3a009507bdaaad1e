"""Defines a search method: a record of pure functions that the search loop calls.

Four functions make a method. What only few methods need is optional, and the loop does
nothing for a method that leaves it out.

Dims: N images of a batch, H, W height and width in pixels, C channels, P members of a
population, E edges, K primitives.
"""

from typing import Literal, NamedTuple, Protocol

import flax.struct
import jax
import numpy as np

from egnas_jax.nn.supernet_config import LivePrimitives, SupernetConfig
from egnas_jax.search.cost import Passes
from egnas_jax.space import Genotype, Space, Topology
from egnas_jax.space import derive as derive_genotype
from egnas_jax.types import Array, Batch, Key, Mixing, PyTree


@flax.struct.dataclass
class Trainee:
    """Weights, momentum and epoch of the supernet; `update` reads them.

    Attributes:
      variables: {"params", "batch_stats"}.
      momentum: momentum buffers of SGD, the tree of the parameters.
      learning_rate: of the running epoch, f32[].
      epoch: the running epoch of the search, or of its stage, from 0, i32[].
      epochs: of the whole search, or of its stage, i32[].
      momentum_rate, weight_decay, nesterov: of SGD; static.
    """

    variables: PyTree
    momentum: PyTree
    learning_rate: Array
    epoch: Array | int = 0
    epochs: Array | int = 1
    momentum_rate: float = flax.struct.field(pytree_node=False, default=0.0)
    weight_decay: float = flax.struct.field(pytree_node=False, default=0.0)
    nesterov: bool = flax.struct.field(pytree_node=False, default=False)


class InitFn(Protocol):
    def __call__(self, key: Key, hyperparams: PyTree) -> PyTree:
        """Makes the state before the first update.

        Every leaf is an array that keeps its shape and dtype in all updates.
        """


class MixingFn(Protocol):
    def __call__(self, key: Key, state: PyTree) -> Mixing:
        """Returns the mixing under which the weights take their next step."""


class UpdateFn(Protocol):
    def __call__(
        self,
        key: Key,
        state: PyTree,
        hyperparams: PyTree,
        trainee: Trainee,
        *,
        train_batch: Batch,
        valid_batch: Batch,
    ) -> tuple[PyTree, dict[str, Array]]:
        """Updates the method's state; the weights do not change.

        Args:
          key: of this update.
          state: the method's state.
          hyperparams: scalars, as `Strategy.hyperparams` has them, as f32[].
          trainee: weights, momentum and epoch of the supernet.
          train_batch: images of the next weight step, [N, H, W, C], for a method that
            updates every step; the validation batch for one that updates every epoch.
          valid_batch: `valid_batch_size` images that the weights never train on.

        Returns:
          The new state, of the same structure, and metrics for the epoch's record,
          numbers or lists of them (those of a method that updates every step are not
          recorded: see `Strategy.metrics`).

        A method with `draws_batches` also gets the keyword `draw_batch`, a `DrawFn`.
        """


class DrawFn(Protocol):
    def __call__(self, key: Key, place: Array | None = None) -> Batch:
        """Draws another batch of `valid_batch_size` validation images.

        Args:
          key: of an order of all validation images.
          place: number of one of several batches in that order, from 0. As many as
            the images fill hold all of them; the first images fill up the last batch.
            None: a single batch.
        """


class IncumbentFn(Protocol):
    def __call__(self, state: PyTree) -> Mixing:
        """Returns the mixing from which the genotype is derived."""


class LearnFn(Protocol):
    def __call__(
        self,
        state: PyTree,
        hyperparams: PyTree,
        *,
        mixing: Mixing,
        gradient: Mixing,
        train_batch: Batch,
    ) -> PyTree:
        """Updates the state by the gradient that a weight step has computed anyway.

        Called after every weight step, also for a method that updates once an epoch.

        Args:
          state: the method's state.
          hyperparams: scalars, as `Strategy.hyperparams` has them, as f32[].
          mixing: the mixing under which the weights took their step.
          gradient: of the step's training loss with respect to `mixing`, not clipped.
          train_batch: images of the step.

        Returns:
          The new state, of the same structure.
        """


class RateFn(Protocol):
    def __call__(self, state: PyTree) -> Array:
        """Returns the probability with which a weight step drops an element, f32[].

        The elements are those of the output of a skip of stride 1.
        """


class PruneFn(Protocol):
    def __call__(self, mixing: Mixing) -> LivePrimitives:
        """Returns the primitives that the edges keep after a stage.

        Args:
          mixing: the incumbent at the end of the stage, arrays of the host.
        """


class DeriveFn(Protocol):
    def __call__(self, mixing: Mixing) -> Genotype | Topology:
        """Derives the genotype of an incumbent, whose arrays are on the host."""


class MetricsFn(Protocol):
    def __call__(self, state: PyTree) -> dict[str, Array]:
        """Returns scalars of a state for the epoch's record, after its last update."""


@flax.struct.dataclass
class Front:
    """The population of a method with several objectives.

    Attributes:
      mixings: leaves [P, E, K] and [P, E].
      objectives: name -> f32[P], minimised; infinite where one is not known.
      is_member: whether nothing in the population dominates it, bool[P].
      knee: index of the member that the method answers by default, i32[].
    """

    mixings: Mixing
    objectives: dict[str, Array]
    is_member: Array
    knee: Array


class FrontFn(Protocol):
    def __call__(self, state: PyTree) -> Front:
        """Returns the population of a state with its objectives."""


class Strategy(NamedTuple):
    """A search method.

    Attributes:
      update_every: "step" or "epoch", how often `update` runs.
      init, mixing, update, incumbent: pure functions, see their protocols.
      hyperparams: scalars that `update` uses and that affect no shape. They are traced,
        so one compiled program serves all their values.
      learn: for a method that learns from the weight step's own gradient.
      derive: for a method with a derivation of its own; None: `space.derive`.
      metrics: for a method whose state is worth plotting, such as one that updates
        every step.
      drop_path: probability with which a weight step drops an edge of an image, for a
        method that regularises the supernet; 0: none is dropped. Only supernets with
        the macro structure of DARTS have it, and only without `skip_dropout`.
      front: for a method with several objectives, whose run gets a front.json.
      draws_batches: whether `update` gets `draw_batch`, for a method that evaluates
        each candidate on a batch of its own.
      permutes_valid: whether the validation batches of an epoch run through the images
        in one order, instead of being drawn one by one.
      skip_dropout: for a method that drops elements behind skips in the weight steps.
        Only supernets with the macro structure of DARTS have it, and only without
        `drop_path`.
      prune: for a method whose configuration plans stages (`PlannedStage`).
      one_hot: whether each weight step trains a single cell, whose rows are 0 and 1.
      trains_weights: whether epochs have weight steps; a method that ranks by untrained
        weights has none.
      passes: what an update costs, for a method that does not return the forward
        passes by which it ranks as the metric `candidate_images`.
    """

    update_every: Literal["step", "epoch"]
    init: InitFn
    mixing: MixingFn
    update: UpdateFn
    incumbent: IncumbentFn
    hyperparams: PyTree
    learn: LearnFn | None = None
    derive: DeriveFn | None = None
    metrics: MetricsFn | None = None
    drop_path: float = 0.0
    draws_batches: bool = False
    front: FrontFn | None = None
    permutes_valid: bool = False
    skip_dropout: RateFn | None = None
    prune: PruneFn | None = None
    one_hot: bool = False
    trains_weights: bool = True
    passes: Passes | None = None


def derive_incumbent(
    strategy: Strategy, space: Space, mixing: Mixing
) -> Genotype | Topology:
    """Derives the genotype of a method's incumbent by the method's own rule.

    Args:
      strategy: the method.
      space: of the cells, for a method without a rule of its own.
      mixing: the incumbent, arrays of numpy or JAX.
    """
    mixing = jax.tree.map(np.asarray, mixing)
    if strategy.derive is not None:
        return strategy.derive(mixing)
    return derive_genotype(space, mixing)


class PlannedStage(NamedTuple):
    """A part of a search that has a supernet of its own, trained from scratch.

    Attributes:
      first: epoch that it begins with, from 0.
      epochs: of this stage; the cosine of the learning rate runs over them.
      supernet: its supernet, as far as it is known before the search.
      strategy: the method's configuration for this stage.
      kept: primitives that every edge keeps at its end.
    """

    first: int
    epochs: int
    supernet: SupernetConfig
    strategy: "StrategyConfig"
    kept: int


class StrategyConfig(Protocol):
    """What the loop reads of a method's configuration, a frozen dataclass.

    Optional attributes: `plan(supernet, epochs)` returns the stages of a method that
    searches in stages, a tuple of `PlannedStage`; `searches_last`, a bool: whether the
    method searches only once, after the last weight step; `first_exploration`, an int:
    the first epoch that changes the architecture, where that is not `warmup`.

    Attributes:
      valid_batch_size: images of the validation batch that `update` gets.
      warmup: first epochs, in which `update` leaves the architecture as it is; 0 for
        most methods.
      individuals: mixings that one update evaluates together; None for a method that
        evaluates no population.
    """

    @property
    def valid_batch_size(self) -> int: ...

    @property
    def warmup(self) -> int: ...

    @property
    def individuals(self) -> int | None: ...
