"""Implements the selection of NSGA-II: non-dominated ranks and crowding distances.

All objectives are minimised. Ties are broken by the lower index and not by chance, so
that a search can be resumed.

Source: Deb et al., A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II, IEEE
TEVC 2002. A distance between equal neighbours counts as zero, as there and in pymoo
0.6; `skip_equal_neighbours` gives the dialect of NSGA-Net (pymoo 0.3), which replaces
it by the distance to the next different one.

Dims: n solutions, m objectives.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from egnas_jax.evolution.shaping import rankable
from egnas_jax.types import Array, Key

# What counts as the distance between equal neighbours, see above.
CROWDINGS = ("deb", "nsga_net")
# What decides a tournament before the crowding distance, see `tournament`.
PARENTS = ("rank", "domination")
FAR = 1e14  # what NSGA-Net has in the place of infinity


def domination(objectives: Array) -> Array:
    """Whether solution i dominates solution j: nowhere worse, somewhere better.

    Args:
      objectives: f32[n, m]; a NaN counts as infinity.

    Returns:
      bool[n, n].
    """
    values = rankable(objectives)
    ours, theirs = values[:, None, :], values[None, :, :]
    return jnp.all(ours <= theirs, axis=-1) & jnp.any(ours < theirs, axis=-1)


def front_numbers(objectives: Array) -> Array:
    """Number of the front of each solution, i32[n]; 0 is the Pareto front.

    Args:
      objectives: f32[n, m]; a NaN counts as infinity.
    """
    dominates = domination(objectives)

    def peel(front_and_numbers):
        front, numbers = front_and_numbers
        left = numbers < 0
        dominated = jnp.any(dominates & left[:, None], axis=0)
        return front + 1, jnp.where(left & ~dominated, front, numbers)

    start = jnp.int32(0), jnp.full(len(objectives), -1, jnp.int32)
    _, numbers = lax.while_loop(lambda state: jnp.any(state[1] < 0), peel, start)
    return numbers


def crowding(
    objectives: Array, rank: Array, *, skip_equal_neighbours: bool = False
) -> Array:
    """Crowding distance of each solution within its front, f32[n].

    For each objective, the distance between both neighbours over the range of the
    front; the mean over objectives. Both ends of a front have an infinite distance, as
    has a front of one or two; an objective that is constant in a front adds nothing.

    Args:
      objectives: f32[n, m], finite.
      rank: i32[n], of `front_numbers`.
      skip_equal_neighbours: NSGA-Net's dialect, with 1e14 for infinity.
    """
    neighbours = _different_neighbours if skip_equal_neighbours else _neighbours
    distances = jax.vmap(
        lambda values: _distances(values, rank, neighbours), in_axes=1
    )(objectives)
    mean = jnp.sum(distances, axis=0) / objectives.shape[1]
    front_size = jnp.sum(rank[:, None] == rank[None, :], axis=1)
    far = FAR if skip_equal_neighbours else jnp.inf
    return jnp.where((front_size <= 2) | jnp.isinf(mean), far, mean)


def _distances(values: Array, rank: Array, neighbours: Callable) -> Array:
    """Distances f32[n] by one objective f32[n]; infinite at the ends of a front."""
    order = jnp.lexsort((values, rank))  # stable: equals stay in their order
    values, rank = values[order], rank[order]
    same = rank[:, None] == rank[None, :]
    high = jnp.max(jnp.where(same, values[None, :], -jnp.inf), axis=1)
    span = high - jnp.min(jnp.where(same, values[None, :], jnp.inf), axis=1)
    below, above = neighbours(values, same)
    distance = (above - below) / jnp.where(span > 0, span, 1.0)
    distance = jnp.where(span > 0, distance, 0.0)
    return jnp.zeros_like(values).at[order].set(distance)


def _neighbours(values: Array, same: Array) -> tuple[Array, Array]:
    """Values before and after each in its front; -inf and inf at the ends."""
    has_next = jnp.append(jnp.diagonal(same, 1), False)
    has_previous = jnp.roll(has_next, 1)
    below = jnp.where(has_previous, jnp.roll(values, 1), -jnp.inf)
    return below, jnp.where(has_next, jnp.roll(values, -1), jnp.inf)


def _different_neighbours(values: Array, same: Array) -> tuple[Array, Array]:
    """Nearest smaller and larger values in the same front; -inf and inf at the ends."""
    others = values[None, :]
    smaller = jnp.where(same & (others < values[:, None]), others, -jnp.inf)
    larger = jnp.where(same & (others > values[:, None]), others, jnp.inf)
    return jnp.max(smaller, axis=1), jnp.min(larger, axis=1)


def survivors(
    objectives: Array, number: int, *, skip_equal_neighbours: bool = False
) -> Array:
    """Indices of the best solutions, i32[number], best first.

    Fronts in order, then the larger crowding distance, then the lower index.

    Args:
      objectives: f32[n, m]; a solution with a NaN or an infinity comes last.
      number: number of survivors, at most n.
      skip_equal_neighbours: see `crowding`.
    """
    rank, distance = rank_and_crowding(
        objectives, skip_equal_neighbours=skip_equal_neighbours
    )
    return jnp.lexsort((-distance, rank))[:number]


def rank_and_crowding(
    objectives: Array, *, skip_equal_neighbours: bool = False
) -> tuple[Array, Array]:
    """Front numbers i32[n] and crowding distances f32[n].

    A solution with a NaN or an infinity comes last.

    Args:
      objectives: f32[n, m].
      skip_equal_neighbours: see `crowding`.
    """
    broken = ~jnp.all(jnp.isfinite(objectives), axis=1)
    rank = jnp.where(
        broken,
        len(objectives),
        front_numbers(jnp.where(broken[:, None], jnp.inf, objectives)),
    )
    distance = crowding(
        jnp.where(broken[:, None], 0.0, objectives),
        rank,
        skip_equal_neighbours=skip_equal_neighbours,
    )
    return rank, distance


def tournament(
    key: Key,
    rank: Array,
    distance: Array,
    number: int,
    *,
    dominates: Array | None = None,
) -> Array:
    """Parents by binary tournaments between neighbours of random permutations.

    The lower rank wins, as in Deb et al., or the solution that dominates the other, as
    in the code of NSGA-Net; then the larger crowding distance, then the first of the
    two, which the permutation has drawn.

    Args:
      key: consumed.
      rank, distance: of the population, [n], n of at least 2.
      number: number of parents.
      dominates: bool[n, n] of `domination`, which decides then; None: the rank does.

    Returns:
      Indices, i32[number].
    """
    size = len(rank)
    pairs_of_one = size // 2
    keys = jax.random.split(key, -(-number // pairs_of_one))
    orders = jax.vmap(lambda k: jax.random.permutation(k, size))(keys)
    pairs = orders[:, : 2 * pairs_of_one].reshape(-1, 2)[:number]
    first, second = pairs[:, 0], pairs[:, 1]
    if dominates is None:
        first_better = rank[first] < rank[second]
        second_better = rank[second] < rank[first]
    else:
        first_better = dominates[first, second]
        second_better = dominates[second, first]
    is_farther = distance[second] > distance[first]
    return jnp.where(second_better | (~first_better & is_farther), second, first)


def hypervolume(objectives: Array, reference: Array) -> Array:
    """Volume that the solutions dominate up to a reference point, f32[].

    Computed in slices of the last objective, exact for any number of objectives, in
    n^(m - 1) steps.

    Args:
      objectives: f32[n, m]; those beyond the reference point add nothing.
      reference: f32[m].
    """
    inside = jnp.all(objectives < reference[None, :], axis=1)
    return _volume(objectives, inside, reference)


def _volume(objectives: Array, counts: Array, reference: Array) -> Array:
    if objectives.shape[1] == 1:
        best = jnp.min(jnp.where(counts, objectives[:, 0], reference[0]))
        return reference[0] - best
    last = jnp.where(counts, objectives[:, -1], reference[-1])
    order = jnp.argsort(last)
    heights = jnp.diff(jnp.append(last[order], reference[-1]))
    so_far = jnp.tril(jnp.ones((len(last), len(last)), bool)) & counts[order][None, :]
    rest = objectives[order, :-1]
    areas = jax.vmap(lambda mask: _volume(rest, mask, reference[:-1]))(so_far)
    return jnp.sum(heights * areas)


def knee(objectives: Array, is_front: Array) -> Array:
    """Index of the knee of a front of two objectives, i32[].

    The knee is the solution farthest below the line through both ends of the front,
    with objectives scaled to the front's range. A front of one or two has no solution
    below the line; its knee is the best by the first objective.

    Args:
      objectives: f32[n, 2].
      is_front: bool[n], with at least one member.
    """
    mask = is_front[:, None]
    low = jnp.min(jnp.where(mask, objectives, jnp.inf), axis=0)
    high = jnp.max(jnp.where(mask, objectives, -jnp.inf), axis=0)
    span = jnp.where(high > low, high - low, 1.0)
    scaled = (objectives - low[None, :]) / span[None, :]
    # The ends of a normalised front are (0, 1) and (1, 0).
    below_line = 1.0 - jnp.sum(scaled, axis=1)
    has_line = jnp.all(high > low)
    score = jnp.where(has_line & (below_line > 0), below_line, 0.0)
    # Equals are decided by the first objective.
    tied = jnp.where(is_front, score, -jnp.inf)
    return jnp.lexsort((objectives[:, 0], -tied))[0]
