"""Steps alpha along the best individual.

Source: EG-NAS (Cai et al., AAAI 2024), Algorithm 1, line 14. Where paper, report and
official code differ, an option of `EGNASConfig` decides.

Dims: E edges, K primitives, D = kinds E K.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Float

from egnas_jax.search.relax import (
    live_rows,
    num_live,
    softmax_mixing,
    unflatten,
    unflatten_like,
)
from egnas_jax.space import Space
from egnas_jax.space.mixing_arrays import check_shape
from egnas_jax.strategies.egnas.config import EGNASConfig
from egnas_jax.strategies.egnas.individuals import individual_rows
from egnas_jax.strategies.egnas.leaders import Best
from egnas_jax.strategies.egnas.method import EGNAS
from egnas_jax.strategies.egnas.state import EGNASState
from egnas_jax.types import Array


def egnas_step_direction(
    z: Float[Array, " D"] | dict[str, Float[Array, "E K"]],
    alpha: dict[str, Float[Array, "E K"]],
    options: EGNASConfig,
    space: Space | None = None,
) -> dict[str, Float[Array, "E K"]]:
    """Returns s*, the direction in which alpha steps along one individual.

    Args:
      z: the individual, f32[D] or cell kind -> [E, K].
      alpha: cell kind -> [E, K].
      options: `direction` is used, and `individual_mixing` where it needs q.
      space: of the cells, as a search has it. Entries of primitives that an edge lacks
        are 0. None: every edge has all primitives, which is wrong in `robust_s1`.

    Raises:
      ValueError: z or alpha has other kinds or shapes than the space's cells, or than
        each other.
    """
    rows = z if isinstance(z, dict) else unflatten_like(alpha, z)
    if space is not None:
        for kind in space.kinds:
            check_shape(space, "alpha", alpha, kind)
            check_shape(space, "z", rows, kind)
    if options.direction == "z":
        step = rows
    elif options.direction == "z_minus_alpha":
        step = jax.tree.map(jnp.subtract, rows, alpha)
    elif options.direction == "double_softmax":
        step = softmax_mixing(individual_rows(rows, options, space), space).primitives
    else:
        step = {
            kind: row - 1.0 / num_live(space, kind, row)
            for kind, row in softmax_mixing(rows, space).primitives.items()
        }
    return live_rows(space, step, dead=0.0)


def _is_accepted(config: EGNASConfig, best: Best) -> Array:
    """Whether alpha steps along the best individual, bool[]."""
    if config.accept == "better":
        return best.correct > best.correct_current
    return best.correct >= best.correct_current


def step_alpha(method: EGNAS, state: EGNASState, best: Best) -> EGNASState:
    """Returns the state with alpha one step further, where the step is accepted.

    An exploration whose fitness was all NaN is counted, and is no update.

    Args:
      method: space, options and numbers.
      state: before the step.
      best: the individual along which alpha steps.
    """
    finite = jnp.isfinite(best.fitness)
    rows = unflatten(method.space, best.z)
    direction = egnas_step_direction(rows, state.alpha, method.config, method.space)
    momentum, step = method.hyperparams.momentum, method.hyperparams.step
    velocity = jax.tree.map(lambda v, d: momentum * v + d, state.velocity, direction)
    alpha = jax.tree.map(lambda a, v: a + step * v, state.alpha, velocity)
    stepped = state.replace(alpha=alpha, velocity=velocity)
    if method.config.accept != "any":
        accepted = _is_accepted(method.config, best)
        stepped = jax.tree.map(lambda a, b: jnp.where(accepted, a, b), stepped, state)
    new = stepped.replace(updates=state.updates + 1)
    old = state.replace(skipped=state.skipped + 1)
    return jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, old)
