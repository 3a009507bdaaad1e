"""Tests of the two cell spaces of the DARTS family."""

import pytest

from egnas_jax.space import DARTS_PRIMITIVES, SPACES, Space


def test_darts7_has_the_primitives_of_eg_nas_in_their_order():
    assert " ".join(SPACES["darts7"].primitives) == (
        "avg_pool_3x3 max_pool_3x3 skip_connect sep_conv_3x3 sep_conv_5x5 "
        "dil_conv_3x3 dil_conv_5x5"
    )


def test_darts8_has_the_primitives_of_darts_in_their_order():
    assert " ".join(SPACES["darts8"].primitives) == (
        "none max_pool_3x3 avg_pool_3x3 skip_connect sep_conv_3x3 sep_conv_5x5 "
        "dil_conv_3x3 dil_conv_5x5"
    )


def test_every_space_is_registered_under_its_name():
    assert all(space.name == name for name, space in SPACES.items())


@pytest.mark.parametrize("name", ["darts7", "darts8"])
def test_spaces_of_darts_offer_known_primitives_only(name):
    assert set(SPACES[name].primitives) <= set(DARTS_PRIMITIVES)


def test_edges_are_sorted_by_target_then_by_source():
    edges = SPACES["darts7"].edges
    assert edges[:5] == ((0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
    assert [edges.index((0, target)) for target in (2, 3, 4, 5)] == [0, 2, 5, 9]


def test_numbers_of_edges_and_alphas_follow_from_nodes_and_primitives():
    assert SPACES["darts7"].num_edges == 14
    assert SPACES["darts7"].dim == 196
    assert SPACES["darts8"].dim == 224
    assert Space("five", ("skip_connect",), num_nodes=5).num_edges == 20
