"""Holds what EG-NAS carries from epoch to epoch.

Dims: N samples, E edges, K primitives.
"""

import flax.struct
import jax
import jax.numpy as jnp

from egnas_jax.search.relax import initial_alpha
from egnas_jax.space import Space
from egnas_jax.types import Array, Key, PyTree


@flax.struct.dataclass
class EGNASState:
    """What EG-NAS carries.

    Attributes:
      alpha: cell kind -> f32[E, K].
      velocity: of alpha, the same shapes.
      run_key: key data of the run's candidates (used by `candidates="run"`), u32[2].
      epochs: epochs seen, i32[].
      updates: explorations in which an individual had a finite fitness, i32[]. Alpha
        stepped in each of them, except where `accept` refused the step.
      skipped: explorations in which no individual had a finite fitness, i32[].
      evolutions: states of the evolution strategy of every sample, leaves [N, ...],
        where something of them is carried on; else None.
    """

    alpha: dict[str, Array]
    velocity: dict[str, Array]
    run_key: Array
    epochs: Array
    updates: Array
    skipped: Array
    evolutions: PyTree | None = None


def state_without_evolutions(space: Space, key: Key) -> EGNASState:
    """Makes the state before the first epoch, with alpha near zero.

    It has no states of the evolution strategy; `sampling.initial_state` adds them where
    they are carried on.
    """
    key_alpha, key_run = jax.random.split(key)
    alpha = initial_alpha(key_alpha, space)
    zero = jnp.zeros((), jnp.int32)
    return EGNASState(
        alpha=alpha,
        velocity=jax.tree.map(jnp.zeros_like, alpha),
        run_key=jax.random.key_data(key_run),
        epochs=zero,
        updates=zero,
        skipped=zero,
    )
