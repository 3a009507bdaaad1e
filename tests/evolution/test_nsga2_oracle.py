"""Selection of NSGA-II against the package `pymoo`, on fresh objectives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pymoo.indicators.hv import HV
from pymoo.operators.survival.rank_and_crowding.metrics import get_crowding_function
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

from egnas_jax.evolution import nsga2

REFERENCE = np.full(2, 1.1)


def ours(objectives):
    """Ranks, crowding distances and hypervolume of f32[n, 2]."""
    rank = nsga2.front_numbers(objectives)
    volume = nsga2.hypervolume(objectives, jnp.asarray(REFERENCE, jnp.float32))
    return rank, nsga2.crowding(objectives, rank), volume


def test_ranks_distances_and_volumes_are_pymoos():
    sets = np.random.default_rng(20).random((40, 30, 2)).astype(np.float32)
    sets[20:] = sets[20:].round(1)  # ties and duplicates
    results = map(np.asarray, jax.jit(jax.vmap(ours))(sets))
    crowding_of, num_fronts = get_crowding_function("cd"), 0
    for objectives, rank, distance, volume in zip(sets, *results, strict=True):
        exact = objectives.astype(np.float64)
        for index, front in enumerate(NonDominatedSorting().do(exact)):
            members = np.sort(front)  # of equal objectives the lower index is first
            np.testing.assert_array_equal(np.flatnonzero(rank == index), members)
            expected = crowding_of.do(exact[members])
            np.testing.assert_allclose(
                distance[members], expected, rtol=1e-5, atol=1e-5
            )
            num_fronts += 1
        expected = HV(ref_point=REFERENCE)(exact)
        assert volume == pytest.approx(expected, rel=1e-5)
    assert num_fronts > 200
