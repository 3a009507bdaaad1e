"""Rewards of the cells that a controller draws.

Dims: S cells of one step of the controller, n cells, T decisions.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jax import lax

from egnas_jax.nn.supernet import Supernet
from egnas_jax.proxies.ranks import share_of_lower
from egnas_jax.search.strategy import DrawFn, Trainee
from egnas_jax.space import Space
from egnas_jax.strategies.controller.choices import cell_of_choices
from egnas_jax.strategies.controller.config import ControllerConfig
from egnas_jax.strategies.discrete.cells import Cells
from egnas_jax.strategies.limits.costs import ExcessFn
from egnas_jax.strategies.proxy_fitness import make_cell_evaluate, proxy_of
from egnas_jax.types import Array, Batch, Key, Mixing


@dataclasses.dataclass(frozen=True)
class RewardEvaluator:
    """Evaluates choices of a controller.

    Under a limit, a cell that keeps it is rewarded with at least a floor. For an
    accuracy and for a proxy's rank the floor is 0; for `1 - loss` it is
    1 - 2 ln(classes), since guessing has the loss ln(classes). A cell over the limit
    gets the floor less 1 to 2: the further it is over, the lower its reward. A policy
    learns from the size of rewards, so a penalty must not be much larger than they are.
    For the same reason a reward by a proxy is a rank: scores have units of their own.

    Attributes:
      net: the supernet.
      config: fitness, batches and chunks.
      space: of the cells.
      cells: how its cells are written.
      excess: by how much a mixing is over the limit; None without a limit.
    """

    net: Supernet
    config: ControllerConfig
    space: Space
    cells: Cells
    excess: ExcessFn | None

    def mixing(self, choices: Array) -> Mixing:
        """The one-hot mixing of choices i32[T]."""
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

        A cell without a finite value gets the smallest reward of the others, or 0 if
        that is smaller.
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
