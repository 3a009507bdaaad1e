"""OpenES: an optimiser that follows a search gradient from mirrored samples and ranks.

The step size sigma is constant.
Source: Salimans et al., Evolution Strategies as a Scalable Alternative to
Reinforcement Learning (2017), arXiv 1703.03864, algorithm 1 with the mirrored sampling
and the fitness shaping of section 2.1.
Dims: P population, D length of one solution.
"""

from collections.abc import Callable

import flax.struct
import jax
import jax.numpy as jnp
import optax

from egnas_jax.evolution.base import Evolution, check_sizes, checked_start, guarded
from egnas_jax.evolution.shaping import centred_ranks
from egnas_jax.types import Array


@flax.struct.dataclass
class OpenESState:
    """The search distribution N(mean, sigma^2 I) and the state of the optimiser.

    Attributes:
      mean: f32[D].
      sigma: standard deviation of every coordinate, f32[].
      generation: number of generations so far, i32[].
      optimizer: optax state.
    """

    mean: Array
    sigma: Array
    generation: Array
    optimizer: optax.OptState


def search_gradient(noise: Array, fitness: Array) -> Array:
    """Estimated gradient of the shaped fitness, times sigma, f32[D].

    Args:
      noise: f32[P, D], deviations from the mean in units of sigma.
      fitness: f32[P].
    """
    return jnp.mean(centred_ranks(fitness)[:, None] * noise, axis=0)


def open_es(
    dim: int,
    population_size: int,
    learning_rate: float = 0.05,
    *,
    optimizer: Callable[[float], optax.GradientTransformation] = optax.adam,
) -> Evolution:
    """OpenES.

    Args:
      dim: D.
      population_size: P, 2 or more. Individuals i and P // 2 + i are mirror images; in
        an odd population the last one has no mirror image.
      learning_rate: of the optimiser.
      optimizer: `learning_rate -> optax optimiser`; `optax.sgd` is the plain update.

    Raises:
      ValueError: dim is below 1, population_size below 2 or learning_rate not above 0.
    """
    check_sizes(dim, population_size)
    if not learning_rate > 0:
        raise ValueError(f"learning_rate is {learning_rate}; it has to be above 0.")
    transform = optimizer(learning_rate)
    pairs = population_size // 2

    def init(mean, sigma):
        mean, sigma = checked_start(mean, sigma, dim)
        return OpenESState(
            mean=mean,
            sigma=sigma,
            generation=jnp.zeros((), jnp.int32),
            optimizer=transform.init(mean),
        )

    def ask(key, state):
        draws = jax.random.normal(key, (population_size - pairs, dim))
        noise = jnp.concatenate([draws[:pairs], -draws[:pairs], draws[pairs:]])
        return state.mean[None, :] + state.sigma * noise

    def tell(state, solutions, fitness):
        noise = (solutions - state.mean[None, :]) / state.sigma
        gradient = search_gradient(noise, fitness) / state.sigma
        # optax's Adam raises a float to an integer, which strict promotion forbids.
        with jax.numpy_dtype_promotion("standard"):
            step, optimizer = transform.update(gradient, state.optimizer, state.mean)
        return state.replace(
            mean=optax.apply_updates(state.mean, step),
            generation=state.generation + 1,
            optimizer=optimizer,
        )

    guarded_tell = guarded(tell, dim, population_size)
    return Evolution(init, ask, guarded_tell, adapts_sigma=False)
