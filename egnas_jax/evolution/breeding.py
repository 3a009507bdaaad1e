"""Breeds the offspring of NSGA-II: tournaments, crossover, mutation, no duplicates.

Source: NSGA-Net (Lu et al., GECCO 2019) with the operators of pymoo 0.3.0. Mating goes
on there until all children are new. Here three times as many are bred as are needed
(one more if that is odd); where fewer are new, duplicates fill up the rest.

Dims: n solutions of the population, D length of one solution, m objectives.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from egnas_jax.evolution.integer_operators import (
    polynomial_mutation,
    random_cuts,
    random_integers,
    two_point_crossover,
)
from egnas_jax.evolution.nsga2 import domination, rank_and_crowding, tournament
from egnas_jax.types import Array, Key

SURPLUS = 3  # children bred for each that is needed


class IntegerGenes(NamedTuple):
    """Solutions of bounded integers.

    Attributes:
      upper: largest value of each position, i32[D]; the least is 0.
      repair: (i32[D]) -> i32[D], the nearest solution that is allowed.
      random: (key) -> a uniform solution; None: a solution is drawn as uniform
        integers, which are repaired.
    """

    upper: Array
    repair: Callable[[Array], Array]
    random: Callable[[Key], Array] | None = None


def random_population(key: Key, genes: IntegerGenes, number: int) -> Array:
    """Uniform solutions, repaired, i32[number, D]."""
    keys = jax.random.split(key, number)
    if genes.random is not None:
        return jax.vmap(genes.random)(keys)
    return jax.vmap(lambda k: genes.repair(random_integers(k, genes.upper)))(keys)


def offspring(
    key: Key,
    genes: IntegerGenes,
    population: Array,
    objectives: Array,
    number: int,
    *,
    skip_equal_neighbours: bool = False,
    parents_by: str = "rank",
) -> Array:
    """The next children, i32[number, D]; new ones before duplicates.

    Args:
      key: consumed.
      genes: bounds and repair.
      population: i32[n, D].
      objectives: of the population, f32[n, m], minimised.
      number: number of children.
      skip_equal_neighbours: see `nsga2.crowding`.
      parents_by: what decides a tournament first, one of `nsga2.PARENTS`.
    """
    key_parents, key_children = jax.random.split(key)
    couples = -(-SURPLUS * number // 2)
    rank, distance = rank_and_crowding(
        objectives, skip_equal_neighbours=skip_equal_neighbours
    )
    dominates = domination(objectives) if parents_by == "domination" else None
    parents = tournament(key_parents, rank, distance, 2 * couples, dominates=dominates)
    pairs = population[parents].reshape(couples, 2, -1)
    keys = jax.random.split(key_children, couples)
    children = jax.vmap(lambda k, pair: _children(k, genes, pair))(keys, pairs)
    children = children.reshape(2 * couples, -1)
    is_new = ~_repeats(population, children)
    return children[jnp.argsort(~is_new, stable=True)[:number]]


def _children(key: Key, genes: IntegerGenes, pair: Array) -> Array:
    """Two children i32[2, D] of two parents."""
    key_cuts, key_gate, key_move = jax.random.split(key, 3)
    cuts = random_cuts(key_cuts, pair.shape[1])
    crossed = two_point_crossover(pair[0], pair[1], cuts)
    gate = jax.random.uniform(key_gate, crossed.shape)
    uniform = jax.random.uniform(key_move, crossed.shape)
    return jax.vmap(
        lambda child, g, u: genes.repair(polynomial_mutation(child, genes.upper, g, u))
    )(crossed, gate, uniform)


def _repeats(population: Array, children: Array) -> Array:
    """Whether each child is in the population or equals a child before it, bool."""
    everyone = jnp.concatenate([population, children])
    equal = jnp.all(children[:, None, :] == everyone[None, :, :], axis=-1)
    place = len(population) + jnp.arange(len(children))
    earlier = jnp.arange(len(everyone))[None, :] < place[:, None]
    return jnp.any(equal & earlier, axis=1)
