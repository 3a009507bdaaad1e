"""Implements ENAS, and PPO in the style of NASNet-A: an LSTM learns to draw cells.

The weights train under a fresh cell at every step. After an epoch's weight steps the
controller is trained for some steps on validation accuracies. Then the best of some
fresh cells, on one batch, becomes the incumbent; with PPO the incumbent of the epoch
before is evaluated beside them, since its rule is the best of all cells seen.

Sources: Pham et al., ICML 2018, and its published code; Zoph et al., CVPR 2018, whose
search code is not public.

Dims: S cells of one step of the controller, T decisions, F finalists.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, ClassVar

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from egnas_jax.controller.cell_policy import CellShape, cell_policy
from egnas_jax.controller.edge_policy import edge_policy
from egnas_jax.controller.lstm import LSTMConfig
from egnas_jax.controller.policy import Policy
from egnas_jax.controller.ppo import LEVELS, PPOOptions, ppo_update
from egnas_jax.controller.reinforce import ReinforceOptions, reinforce_update
from egnas_jax.controller.training import AdamOptions, PolicyState, init_policy
from egnas_jax.idle import check_idle
from egnas_jax.nn.supernet import Supernet
from egnas_jax.proxies.ranks import share_of_lower
from egnas_jax.search.evaluate import STATISTICS, check_options
from egnas_jax.search.strategy import DrawFn, Strategy, Trainee
from egnas_jax.settings import (
    LARGEST_FLOAT,
    check_choices,
    check_field_types,
    check_ranges,
)
from egnas_jax.space import SPACES, Space
from egnas_jax.strategies.discrete.cells import Cells, cells_of
from egnas_jax.strategies.discrete.search import FITNESSES
from egnas_jax.strategies.limits.config import Limit
from egnas_jax.strategies.limits.costs import ExcessFn, make_excess
from egnas_jax.strategies.limits.derivation import with_limit
from egnas_jax.strategies.proxy_fitness import (
    IDLE,
    check_fitness,
    check_proxy_space,
    images_of_cell,
    make_cell_evaluate,
    proxy_of,
)
from egnas_jax.types import Array, Batch, Key, Mixing

BATCHES = ("own", "shared")
RATE, SHARE = (0.0, LARGEST_FLOAT), (0.0, 1.0)
# (state of the policy, choices i32[S, T], rewards f32[S]) -> state, metrics
UpdatePolicyFn = Callable[[PolicyState, Array, Array], tuple[PolicyState, Any]]


@dataclasses.dataclass(frozen=True)
class ControllerConfig:
    """The settings that both controllers share.

    Attributes:
      learning_rate: of Adam on the controller.
      baseline: share of the moving average of rewards that stays.
      entropy_weight: weight of the entropy: of a sequence's in its reward (ENAS), or of
        a decision's in the objective (PPO).
      samples: S, cells of one step.
      steps: of the controller after each epoch.
      finalists: F, fresh cells of which the best becomes the incumbent.
      hidden: units of the LSTM.
      conv_bias: where the bias of separable convolutions starts, see `LSTMConfig`.
      fixed_bias: see `LSTMConfig`.
      batches: "own": each cell is evaluated on a batch of its own, as published;
        "shared": those of one step on one batch, by one call.
      fitness: what a cell is rewarded for: "accuracy", as published; "loss", as
        1 - loss; or "proxy:NAME", the score of an untrained network by a zero-cost
        proxy, as the share of the cells of its step with a lower score. Then no epoch
        has weight steps.
      batch_size: images of one such batch.
      batch_stats: batch norm in these evaluations: "batch" or "running".
      population_chunk, image_chunk: cells and images evaluated at a time; None: as
        `search.evaluate.default_chunks` chooses, or `default_population_chunk` for
        a proxy.
      limit: that the cells keep; those over it have the least rewards, see
        `_RewardEvaluator`.

    Raises:
      ValueError: a number out of its range, an unknown choice, or a proxy that so few
        images do not serve, or with which an option has no effect.
    """

    learning_rate: float = 0.0035
    baseline: float = 0.99
    entropy_weight: float = 1e-4
    samples: int = 10
    steps: int = 30
    finalists: int = 10
    hidden: int = 64
    conv_bias: float = 10.0
    fixed_bias: bool = True
    batches: str = "own"
    fitness: str = "accuracy"
    batch_size: int = 160
    batch_stats: str = "batch"
    population_chunk: int | None = None
    image_chunk: int | None = None
    limit: Limit = Limit()

    warmup: ClassVar[int] = 0  # the controller learns from the first epoch on
    idle: ClassVar = IDLE

    def __post_init__(self):
        count = (1, 10**5)
        ranges = dict(
            learning_rate=RATE,
            baseline=SHARE,
            entropy_weight=RATE,
            samples=count,
            steps=count,
            finalists=count,
            hidden=(1, 4096),
            conv_bias=(-LARGEST_FLOAT, LARGEST_FLOAT),
            batch_size=(1, 10**6),
        )
        check_ranges(self, ranges, "strategy.")
        check_field_types(self, "strategy.")
        choices = {"batches": BATCHES, "batch_stats": STATISTICS}
        check_choices(self, choices, "strategy.")
        check_fitness(self.fitness, FITNESSES, self.batch_size, "batch_size")
        check_idle(self, "strategy.")
        chunks = self.population_chunk, self.image_chunk
        check_options(self.batch_stats, *chunks, "strategy.")

    @property
    def valid_batch_size(self) -> int:
        """Validation images of one batch."""
        return self.batch_size

    @property
    def individuals(self) -> int:
        """Cells that are evaluated together, at most."""
        return max(self.finalists + 1, self.samples)


@dataclasses.dataclass(frozen=True)
class ENASConfig(ControllerConfig):
    """The settings of ENAS: those of `ControllerConfig`, with its published values."""


@dataclasses.dataclass(frozen=True)
class PPOConfig(ControllerConfig):
    """The settings of PPO.

    Attributes:
      clip: ratios count within 1 +- clip.
      epochs: steps of Adam on the cells of one step.
      level: whether there is a ratio for each "decision" or for each "sequence".

    Raises:
      ValueError: a number out of its range, or an unknown choice.
    """

    learning_rate: float = 3.5e-4
    baseline: float = 0.95
    entropy_weight: float = 1e-5
    samples: int = 20
    steps: int = 15
    hidden: int = 100
    clip: float = 0.2
    epochs: int = 4
    level: str = "decision"

    def __post_init__(self):
        super().__post_init__()
        check_ranges(self, {"clip": (1e-9, RATE[1]), "epochs": (1, 1000)}, "strategy.")
        check_choices(self, {"level": LEVELS}, "strategy.")


@flax.struct.dataclass
class ControllerHyperparams:
    """The numbers of the controller's training that affect no shape."""

    learning_rate: Array | float
    baseline: Array | float
    entropy_weight: Array | float


@flax.struct.dataclass
class ControllerState:
    """What a controller carries.

    Attributes:
      policy: the controller as it is being trained.
      best: choices of the incumbent, i32[T].
    """

    policy: PolicyState
    best: Array


def enas(net: Supernet, config: ENASConfig) -> Strategy:
    """Makes ENAS a strategy of the search loop."""

    def make_update(policy: Policy, numbers: ControllerHyperparams) -> UpdatePolicyFn:
        options = ReinforceOptions(
            adam=AdamOptions(
                numbers.learning_rate, beta1=0.0, eps=1e-3, tensorflow_eps=True
            ),
            baseline_decay=numbers.baseline,
            entropy_weight=numbers.entropy_weight,
        )

        def update(state, choices, reward):
            new, seen = reinforce_update(policy, options, state, choices, reward)
            return new, {
                "policy_entropy": jnp.mean(seen.entropy),
                "baseline": seen.baseline[-1],
            }

        return update

    return _controller(net, config, make_update, keeps_best=False)


def nasnet_ppo(net: Supernet, config: PPOConfig) -> Strategy:
    """Makes the controller with PPO a strategy of the search loop."""

    def make_update(policy: Policy, numbers: ControllerHyperparams) -> UpdatePolicyFn:
        options = PPOOptions(
            adam=AdamOptions(numbers.learning_rate),
            baseline_decay=numbers.baseline,
            entropy_weight=numbers.entropy_weight,
            clip=config.clip,
            epochs=config.epochs,
            level=config.level,
        )

        def update(state, choices, reward):
            new, seen = ppo_update(policy, options, state, choices, reward)
            return new, {
                "policy_entropy": seen.entropy,
                "baseline": seen.baseline,
                "clipped_ratios": seen.clipped,
            }

        return update

    return _controller(net, config, make_update, keeps_best=True)


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


def _controller(
    net: Supernet,
    config: ControllerConfig,
    make_update: Callable[[Policy, ControllerHyperparams], UpdatePolicyFn],
    *,
    keeps_best: bool,
) -> Strategy:
    space = SPACES[net.config.space]
    policy, cells = policy_of(space, config), cells_of(space)
    excess = make_excess(space, net.config.num_classes, config.limit)
    check_proxy_space(config.fitness, net)
    evaluator = _RewardEvaluator(net, config, space, cells, excess)

    def init(key: Key, hyperparams: ControllerHyperparams) -> ControllerState:
        del hyperparams
        key_params, key_best = jax.random.split(key)
        start = init_policy(key_params, policy)
        return ControllerState(start, policy.sample(key_best, start.params))

    def mixing(key: Key, state: ControllerState) -> Mixing:
        return evaluator.mixing(policy.sample(key, state.policy.params))

    def update(
        key: Key,
        state: ControllerState,
        hyperparams: ControllerHyperparams,
        trainee: Trainee,
        *,
        train_batch: Batch,
        valid_batch: Batch,
        draw_batch: DrawFn,
    ) -> tuple[ControllerState, dict[str, Array]]:
        del train_batch
        update_policy = make_update(policy, hyperparams)

        def step(trained, key):
            key_sample, key_batch = jax.random.split(key)
            choices = _samples(policy, key_sample, trained, config.samples)
            reward = evaluator.rewards(key_batch, trainee, choices, draw_batch)
            new, info = update_policy(trained, choices, reward)
            return new, info | {"reward": jnp.mean(reward)}

        key_steps, key_final = jax.random.split(key)
        keys = jax.random.split(key_steps, config.steps)
        trained, infos = lax.scan(step, state.policy, keys)
        finalists = _samples(policy, key_final, trained, config.finalists)
        if keeps_best:
            finalists = jnp.concatenate([state.best[None], finalists])
        values = evaluator.values_on(key_final, trainee, finalists, valid_batch)
        reward = evaluator.rewards_of(values, finalists)
        evaluated = config.steps * config.samples + len(finalists)
        images = images_of_cell(config.fitness, config.batch_size)
        info = jax.tree.map(lambda values: values[-1], infos) | {
            "reward": jnp.mean(infos["reward"]),
            "fitness": evaluator.fitness(values, reward),
            "candidate_images": jnp.float32(evaluated * images),
        }
        return ControllerState(trained, finalists[jnp.argmax(reward)]), info

    strategy = Strategy(
        update_every="epoch",
        init=init,
        mixing=mixing,
        update=update,
        incumbent=lambda state: evaluator.mixing(state.best),
        hyperparams=ControllerHyperparams(
            config.learning_rate, config.baseline, config.entropy_weight
        ),
        draws_batches=True,
        one_hot=True,
        trains_weights=proxy_of(config.fitness) is None,
    )
    return with_limit(strategy, net, config.limit)


def _samples(policy: Policy, key: Key, trained: PolicyState, number: int) -> Array:
    """Choices i32[number, T] of the policy."""
    keys = jax.random.split(key, number)
    return jax.vmap(lambda k: policy.sample(k, trained.params))(keys)


@dataclasses.dataclass(frozen=True)
class _RewardEvaluator:
    """Evaluates choices of a controller.

    Under a limit, rewards are at least a floor: 0 of an accuracy, and of 1 - loss that
    of a loss twice as large as that of guessing. A cell over the limit is rewarded with
    less than the floor, down to 2 less by its excess. A policy learns from the size of
    rewards, so a penalty must not be much larger than they are. For the same reason a
    reward by a proxy is a rank, whose floor is 0: scores have units of their own.
    """

    net: Supernet
    config: ControllerConfig
    space: Space
    cells: Cells
    excess: ExcessFn | None

    def mixing(self, choices: Array) -> Mixing:
        return self.cells.to_mixing(cell_of_choices(self.space, choices))

    def values_on(
        self, key: Key, trainee: Trainee, choices: Array, batch: Batch
    ) -> Array:
        """What choices i32[n, T] are rewarded for on one batch, by one call.

        An accuracy, 1 - loss, or a score; -inf where the loss or the score is no
        number.
        """
        mixings = jax.vmap(self.mixing)(choices)
        arguments = self.net, self.config, trainee.variables, batch, key
        scores = make_cell_evaluate(*arguments)(mixings)
        if proxy_of(self.config.fitness) is not None:
            value = -scores.loss
        elif self.config.fitness == "accuracy":
            value = scores.accuracy
        else:
            value = 1 - scores.loss
        return jnp.where(jnp.isfinite(scores.loss), value, -jnp.inf)

    def rewards_of(self, values: Array, choices: Array) -> Array:
        """Rewards f32[n] of the values of choices i32[n, T].

        A cell without a finite value gets 0, or the least of the others' below it.
        """
        if proxy_of(self.config.fitness) is not None:
            reward = share_of_lower(values)
        else:
            finite = jnp.isfinite(values)
            worst = jnp.min(jnp.where(finite, values, 0.0))
            reward = jnp.where(finite, values, jnp.minimum(worst, 0.0))
        return self.limited(reward, jax.vmap(self.mixing)(choices))

    def fitness(self, values: Array, reward: Array) -> Array:
        """Fitness of the best cell: 1 - its reward, or its negative score, f32[]."""
        if proxy_of(self.config.fitness) is not None:
            return -values[jnp.argmax(reward)]
        return 1.0 - jnp.max(reward)

    def limited(self, reward: Array, mixings: Mixing) -> Array:
        """Rewards f32[n] of cells, with those over a limit below all others."""
        if self.excess is None:
            return reward
        floor = 0.0
        if self.config.fitness == "loss":
            floor = 1.0 - 2.0 * math.log(self.net.config.num_classes)
        over = jax.vmap(self.excess)(mixings)
        penalty = floor - 1.0 - over / (1.0 + over)
        return jnp.where(over > 0, penalty, jnp.maximum(reward, floor))

    def rewards(
        self, key: Key, trainee: Trainee, choices: Array, draw_batch: DrawFn
    ) -> Array:
        """Rewards f32[S], on a batch for each or on one for all."""
        if self.config.batches == "shared":
            values = self.values_on(key, trainee, choices, draw_batch(key))
            return self.rewards_of(values, choices)

        def value(pair):
            key_batch, choice = pair
            batch = draw_batch(key_batch)
            return self.values_on(key, trainee, choice[None], batch)[0]

        keys = jax.random.split(key, len(choices))
        return self.rewards_of(lax.map(value, (keys, choices)), choices)
