"""Selection of NSGA-II against pymoo's numbers, and against values by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egnas_jax.evolution import nsga2

REFERENCE = 1.1


@pytest.fixture(scope="module")
def sets(load_golden):
    """Every golden set of objectives: {array: its numbers of these n solutions}."""
    golden = load_golden("systems/nsga2")
    names = ("rank", "crowding", "crowding_nsganet", "survivors")
    return [
        {"objectives": golden["objectives"][index, :n, :m]}
        | {name: golden[name][index, :n] for name in names}
        | {"hypervolume": golden["hypervolume"][index]}
        for index, (n, m) in enumerate(zip(golden["n"], golden["m"], strict=True))
    ]


@pytest.fixture(scope="module")
def padded(sets):
    """All sets as one array [100, 40, 3], so that one program serves all of them.

    Solutions beyond n are dominated by all others; objectives beyond m are constant.
    """
    objectives = np.zeros((len(sets), 40, 3), np.float32)
    for index, one in enumerate(sets):
        n, m = one["objectives"].shape
        objectives[index, :n, :m] = one["objectives"]
        objectives[index, n:] = 2.0
    return jnp.asarray(objectives)


def test_ranks_are_pymoos(sets, padded):
    ranks = np.asarray(jax.jit(jax.vmap(nsga2.front_numbers))(padded))
    for one, rank in zip(sets, ranks, strict=True):
        np.testing.assert_array_equal(rank[: len(one["rank"])], one["rank"])


@pytest.mark.parametrize("name", ["crowding", "crowding_nsganet"])
def test_crowding_distances_are_pymoos(sets, padded, name):
    def crowding(objectives):
        rank = nsga2.front_numbers(objectives)
        is_old = name == "crowding_nsganet"
        return nsga2.crowding(objectives, rank, skip_equal_neighbours=is_old)

    found = np.asarray(jax.jit(jax.vmap(crowding))(padded))
    for one, distance in zip(sets, found, strict=True):
        n, m = one["objectives"].shape
        ours = distance[:n]
        ours = np.where(ours >= 1e14, ours, ours * 3 / m)  # the mean is over 3 here
        np.testing.assert_allclose(ours, one[name], rtol=1e-5, atol=1e-5)


def test_survivors_are_pymoos(sets, padded):
    found = np.asarray(jax.jit(jax.vmap(lambda o: nsga2.survivors(o, 40)))(padded))
    for one, order in zip(sets, found, strict=True):
        n = len(one["rank"])
        expected = np.flatnonzero(one["survivors"])
        assert sorted(order[: n // 2]) == expected.tolist()


def test_survivors_by_the_crowding_of_nsga_net_are_those_of_its_distances(sets, padded):
    @jax.jit
    @jax.vmap
    def both(objectives):
        dialect = {"skip_equal_neighbours": True}
        return (
            nsga2.survivors(objectives, 40, **dialect),
            nsga2.survivors(objectives, 40),
        )

    found = zip(*map(np.asarray, both(padded)), strict=True)
    num_different = 0
    for one, (order, of_deb) in zip(sets, found, strict=True):
        n = len(one["rank"])
        expected = np.lexsort((-one["crowding_nsganet"], one["rank"]))[: n // 2]
        assert sorted(order[: n // 2]) == sorted(expected)
        num_different += sorted(order[: n // 2]) != sorted(of_deb[: n // 2])
    assert num_different > 0


@pytest.mark.parametrize("number", [2, 3])
def test_the_hypervolume_is_pymoos(sets, padded, number):
    chosen = [i for i, one in enumerate(sets) if one["objectives"].shape[1] == number]
    objectives = padded[np.asarray(chosen), :, :number]
    reference = jnp.full(number, REFERENCE)
    volume = jax.jit(jax.vmap(lambda o: nsga2.hypervolume(o, reference)))(objectives)
    expected = [sets[index]["hypervolume"] for index in chosen]
    assert len(chosen) > 20
    np.testing.assert_allclose(volume, expected, rtol=1e-5, atol=1e-6)


def test_solutions_without_a_number_come_last():
    objectives = jnp.asarray([[jnp.nan, 0.0], [0.5, 0.5], [jnp.inf, 0.1], [0.9, 0.9]])
    rank, _ = jax.jit(nsga2.rank_and_crowding)(objectives)
    assert rank[3] < min(rank[0], rank[2])
    survivors = jax.jit(lambda rows: nsga2.survivors(rows, 2))(objectives)
    np.testing.assert_array_equal(survivors, [1, 3])


def test_tournaments_prefer_rank_then_crowding():
    rank, distance = jnp.asarray([0, 0, 1, 1]), jnp.asarray([1.0, 2.0, 5.0, 5.0])
    tournament = jax.jit(nsga2.tournament, static_argnums=3)
    parents = tournament(jax.random.key(0), rank, distance, 400)
    share = np.bincount(parents, minlength=4) / 400
    # 1 wins every pair; 0 all but that with 1; 2 and 3 only the pair with each other.
    # Each has a third of the partners, and each permutation makes two pairs.
    np.testing.assert_allclose(share, [2 / 6, 3 / 6, 0.5 / 6, 0.5 / 6], atol=0.06)


def test_tournaments_by_domination_leave_other_pairs_to_crowding():
    """The pairs of NSGA-Net: 1 is of the second front, but 0 does not dominate it."""
    objectives = jnp.asarray([[0.0, 1.0], [0.8, 0.5], [0.7, 0.4]])
    rank, distance = nsga2.front_numbers(objectives), jnp.asarray([1.0, 9.0, 2.0])
    assert rank.tolist() == [0, 1, 0]
    tournament = jax.jit(nsga2.tournament, static_argnums=3)
    shares = []
    for dominates in (None, nsga2.domination(objectives)):
        arguments = jax.random.key(0), rank, distance, 300
        parents = tournament(*arguments, dominates=dominates)
        shares.append(np.bincount(parents, minlength=3) / 300)
    # each pair is drawn a third of the times: 0 beats 1 by rank, 1 beats 0 by crowding
    np.testing.assert_allclose(shares[0], [1 / 3, 0, 2 / 3], atol=0.1)
    np.testing.assert_allclose(shares[1], [0, 1 / 3, 2 / 3], atol=0.1)


def test_the_knee_is_farthest_below_the_line_between_the_ends():
    objectives = jnp.asarray(
        [[0.0, 10.0], [0.2, 2.0], [0.5, 1.0], [1.0, 0.0], [0.1, 0.1]]
    )
    is_front = jnp.asarray([True, True, True, True, False])
    # below the line: 1 - (0.2 + 0.2) = 0.6 against 1 - (0.5 + 0.1) = 0.4
    knee = jax.jit(nsga2.knee)
    assert knee(objectives, is_front) == 1
    assert knee(objectives, is_front & (jnp.arange(5) != 1)) == 2
    # without a solution below the line: the best by the first objective
    assert knee(objectives, jnp.arange(5) == 3) == 3
    assert knee(objectives, (jnp.arange(5) == 3) | (jnp.arange(5) == 0)) == 0
