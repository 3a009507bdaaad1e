"""The rules of P-DARTS against those of its reference, exactly."""

import json

import jax
import numpy as np
import pytest

from egnas_jax.nn.supernet_config import SupernetConfig
from egnas_jax.space import SPACES, Genotype
from egnas_jax.strategies.p_darts.config import PDARTSConfig
from egnas_jax.strategies.p_darts.rules import (
    dropout_factor,
    final_cell,
    limit_skips,
    prune,
)

SPACE = SPACES["darts8"]
DROPPED = (3, 2, 2)  # primitives of an edge after each stage
LAST = DROPPED[-1]
CASES = range(50)


@pytest.fixture(scope="module")
def golden(load_golden):
    return load_golden("systems/p_darts")


def alphas_of(golden, case, kind):
    return [golden[f"alpha_stage{stage}"][case, kind] for stage in range(3)]


def masked_softmax(alpha, live):
    """Rows over all primitives, of alphas of the live ones, [E, J]."""
    logits = np.full(live.shape, -np.inf, np.float32)
    logits[live] = alpha.astype(np.float32).ravel()
    return np.asarray(jax.nn.softmax(logits, axis=1))


def live_after(alphas):
    """Which primitives are live after the first stages, bool[E, K]."""
    live = np.ones((14, 8), bool)
    for alpha, dropped in zip(alphas, DROPPED, strict=False):
        live = prune(SPACE, masked_softmax(alpha, live), live, dropped, last=False)
    return live


def last_stage(golden, case, kind):
    """Weights and live primitives of the last stage."""
    *first, last = alphas_of(golden, case, kind)
    live = live_after(first)
    return masked_softmax(last, live), live


def test_the_stages_are_those_of_the_reference(golden):
    config = json.loads(str(golden["config"]))
    plan = PDARTSConfig().plan(SupernetConfig(space="darts8", layers=5), 75)
    assert [stage.supernet.layers for stage in plan] == config["layers"]
    assert list(DROPPED) == config["dropped"]
    left = 8 - np.cumsum(DROPPED)
    assert [stage.kept for stage in plan] == left.tolist()


def test_dropout_falls_on_a_line_and_then_exponentially(golden):
    factors = [dropout_factor(epoch, epochs=25, warmup=10) for epoch in range(25)]
    np.testing.assert_allclose(factors, golden["dropout_factor"], rtol=1e-6)


def test_rows_are_a_softmax_over_the_live_primitives(golden):
    for kind in (0, 1):
        alphas = alphas_of(golden, 0, kind)
        rows = masked_softmax(alphas[1], live_after(alphas[:1]))
        np.testing.assert_allclose(
            rows, golden["rows_stage1_case0"][kind], rtol=1e-6, atol=1e-7
        )


def test_every_stage_leaves_the_primitives_of_the_reference(golden):
    for case in CASES:
        for kind in (0, 1):
            alphas = alphas_of(golden, case, kind)
            for stage in (0, 1):
                live = live_after(alphas[: stage + 1])
                expected = golden[f"on_after_stage{stage}"][case, kind]
                np.testing.assert_array_equal(live, expected)


def test_the_cells_are_those_of_the_reference_ties_included(golden):
    genotypes = json.loads(str(golden["genotype"]))
    for case in CASES:
        for kind in (0, 1):
            cell = final_cell(SPACE, *last_stage(golden, case, kind), LAST)
            expected = tuple(map(tuple, genotypes[case][kind]))
            assert cell.pairs(SPACE) == expected
            on = np.zeros((14, 8), bool)
            on[list(cell.edges), cell.choices[list(cell.edges)]] = True
            np.testing.assert_array_equal(on, golden["on_final"][case, kind])
        Genotype(expected, (2, 3, 4, 5), expected, (2, 3, 4, 5))


def test_a_tie_keeps_the_higher_edge():
    weights = np.full((14, 8), 1 / 3, np.float32)
    live = np.zeros((14, 8), bool)
    live[:, [3, 4, 5]] = True
    cell = final_cell(SPACE, weights, live, 2)
    assert cell.edges == (0, 1, 3, 4, 7, 8, 12, 13)
    assert set(cell.choices) == {5}  # the earlier ones are dropped


def test_a_limit_of_skips_replaces_the_weakest(golden):
    changed = json.loads(str(golden["normal_by_skip_limit"]))
    for case in CASES:
        arguments = SPACE, *last_stage(golden, case, 0), LAST
        cell = final_cell(*arguments)
        assert len(cell.skips(SPACE)) == golden["skips_found"][case]
        expected = cell.pairs(SPACE)
        for limit in range(8, -1, -1):
            listed = changed[case].get(str(limit))
            expected = tuple(map(tuple, listed)) if listed else expected
            found = limit_skips(*arguments, limit=limit)
            assert found.pairs(SPACE) == expected
            assert len(found.skips(SPACE)) <= limit
