"""Tests of spaces as values: graphs, primitives of each edge, what fits together."""

import dataclasses

import numpy as np
import pytest

from egnas_jax.space import SPACES, Space, register_space

# node 3 has no edge from the first input, and node 5 none from nodes 2 and 3
EDGES = ((0, 2), (1, 2), (1, 3), (2, 3), (0, 4), (3, 4), (1, 5), (4, 5), (0, 6), (5, 6))
GRAPH = Space("graph", ("skip_connect", "sep_conv_3x3"), num_nodes=5, edges=EDGES)
STAGES = {"num_inputs": 1, "output": "last", "macro": "nasbench201"}


def test_edges_are_sorted_by_target_then_source_in_whatever_order_they_are_given():
    backwards = dataclasses.replace(GRAPH, edges=[list(edge) for edge in EDGES[::-1]])
    assert backwards == GRAPH and hash(backwards) == hash(GRAPH)
    assert backwards.edges == EDGES
    assert (GRAPH.num_edges, GRAPH.dim) == (10, 2 * 10 * 2)
    assert GRAPH.in_edges(5) == (6, 7)
    assert GRAPH.output_nodes == (2, 3, 4, 5, 6)


def test_a_space_can_be_written_and_read_as_python():
    for space in (*SPACES.values(), GRAPH):
        assert eval(repr(space), {"Space": Space}) == space


def test_all_edges_are_there_unless_some_are_named():
    full = Space("full", ("skip_connect",), num_nodes=2)
    assert full.edges == ((0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
    assert full == dataclasses.replace(full, edges=full.edges)


@pytest.mark.parametrize(
    "edges, message",
    [
        (((0, 2), (1, 2), (2, 3), (4, 3), (3, 4), (0, 4)), "a cycle of edges, .*3.*4"),
        (((0, 2), (1, 2), (2, 2)), r"\(2, 2\) leads from a node to itself"),
        (((0, 1), (0, 2)), r"\(0, 1\) leads to an input. Allowed targets: 2 to 4"),
        (((0, 2), (1, 5)), r"\(1, 5\) names node 5, but the nodes are 0 to 4"),
        (((0, 2), (1, 2), (0, 2)), r"edge \(0, 2\) more than once"),
        (((0, 2), (1, 2), (0, 4), (2, 4)), r"no edge to node 3. .*nodes 0 to 2, or"),
        (((0, 2), (1, "2")), "pair .source, target. of whole numbers, got"),
        (((0, 2, 3),), "pair .source, target. of whole numbers, got"),
        ("02", "must be pairs"),
    ],
)
def test_edges_that_are_no_graph_of_a_cell_are_refused(edges, message):
    with pytest.raises(ValueError, match=message):
        Space("mine", ("skip_connect",), num_nodes=3, edges=edges)


def test_edges_and_sizes_may_be_numbers_of_numpy():
    numbers = {"num_nodes": np.int64(5), "edges": np.array(EDGES)}
    space = dataclasses.replace(GRAPH, **numbers)
    assert space == GRAPH and hash(space) == hash(GRAPH)
    assert {type(n) for edge in space.edges for n in edge} == {int}
    assert type(space.num_nodes) is int


def test_a_space_without_a_path_from_input_to_output_is_refused():
    for derive in ("argmax", lambda space, mixing: None):
        with pytest.raises(ValueError, match="mine: .*path from an input of the norma"):
            Space("mine", ("none",), derive=derive)
    row = {(0, 1): ("none",), (0, 2): ("none",), (1, 2): ("skip_connect", "none")}
    parts = STAGES | {"num_nodes": 2, "derive": "argmax"}
    with pytest.raises(ValueError, match=r"of the cell to its output nodes \[2\], "):
        Space("mine", row, **parts)
    assert Space("mine", row | {(0, 2): ("none", "skip_connect")}, **parts)


def test_nodes_in_another_order_are_refused_with_the_same_graph_in_order():
    edges = ((0, 3), (1, 3), (3, 2), (0, 2), (2, 4), (1, 4))
    with pytest.raises(ValueError, match=r"\(3, 2\) leads to an earlier") as error:
        Space("mine", ("skip_connect",), num_nodes=3, edges=edges)
    renamed = str(error.value).rpartition("The same graph: ")[2].rstrip(".")
    edges = eval(renamed)
    assert Space("mine", ("skip_connect",), num_nodes=3, edges=edges).edges == (
        (0, 2),
        (1, 2),
        (0, 3),
        (2, 3),
        (1, 4),
        (3, 4),
    )


@pytest.mark.parametrize(
    "parts, message",
    [
        (STAGES | {"output": "concat"}, "output is 'concat', but in .* be 'last'"),
        (STAGES | {"num_inputs": 2}, "num_inputs is 2, but in .*nasbench201 must be 1"),
        ({"num_inputs": 1}, "num_inputs is 1, but in the macro structure darts must"),
        ({"kinds": ("cell",)}, r"kinds is \('cell',\), but in .* darts must"),
        (STAGES, 'derive="darts" needs cells with two inputs, and these have 1'),
        ({"macro": "dart"}, "Unknown macro structure 'dart'. Did you mean darts"),
        ({"derive": "max"}, "derive is 'max', but must be one of darts, argmax, or a"),
        ({"output": "sum"}, "output is 'sum', but in"),
        ({"num_nodes": 0}, "num_nodes is 0, but must be a whole number from 1"),
        ({"num_nodes": 2.0}, "num_nodes must be a whole number, got 2.0"),
        (
            {"name": ""},
            "'' cannot be the name of a space: it takes letters a to z, digits",
        ),
        ({"name": "../x y"}, "'../x y' cannot be the name of a space.* like my_space"),
        ({"name": 3}, "3 cannot be the name of a space"),
        ({"num_nodes": True}, "num_nodes must be a whole number, got True"),
        (
            {"num_nodes": 2, "edges": ((0, 2), (1, 2), (2, 3))},
            "keeps two edges of each node, and node 3 has one",
        ),
        (
            {
                "num_nodes": 2,
                "output": "last",
                "edges": ((0, 2), (1, 2), (0, 3), (1, 3)),
            },
            "no edge from node 2, and the output of its cell is node 3 alone",
        ),
        (
            {"primitives": ("none",), "num_nodes": 1},
            "never keeps none, and the edge .0, 2. of the normal cell has no other",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused_with_the_reason(parts, message):
    parts = {"name": "mine", "primitives": ("skip_connect",)} | parts
    with pytest.raises(ValueError, match=message):
        Space(**parts)


ONE_NODE = {(0, 2): ("skip_connect",), (1, 2): ("none", "sep_conv_3x3")}


def test_primitives_may_differ_between_edges_and_kinds_of_cells():
    space = Space(
        "mine", {"normal": ONE_NODE, "reduce": ("sep_conv_3x3", "none")}, num_nodes=1
    )
    assert space.primitives == ("skip_connect", "none", "sep_conv_3x3")
    assert space.live == (((0,), (1, 2)), ((1, 2), (1, 2)))
    assert space.primitives_of("normal", 1) == ("none", "sep_conv_3x3")
    assert space.primitives_of("reduce", 0) == ("none", "sep_conv_3x3")
    assert space.dim == 2 * 2 * 3
    assert dataclasses.replace(space, name="other").live == space.live
    same = Space("mine", ("skip_connect", "none", "sep_conv_3x3"), num_nodes=1)
    assert same != space and same.live is None
    every = dict.fromkeys(ONE_NODE, same.primitives)
    assert Space("mine", every, num_nodes=1) == same


@pytest.mark.parametrize(
    "primitives, message",
    [
        (
            ("skip",),
            "space mine: Unknown primitive 'skip'.* egnas_jax.register_primitive",
        ),
        (("none", "none"), "has the primitive none twice"),
        ((), "needs a list of names of primitives, at least one"),
        ("none", "needs a list of names of primitives"),
        ({(0, 2): ("none",)}, r"no primitives for the edge \(1, 2\)"),
        (ONE_NODE | {(0, 3): ("none",)}, r"the unknown edge \(0, 3\)"),
        (
            {(0, 2): ("none",), (1, 2): ("non",)},
            r"edge \(1, 2\): Unknown primitive 'non'",
        ),
        (
            {"normal": ONE_NODE},
            "primitives for normal. .* each kind of cell: normal, red",
        ),
    ],
)
def test_primitives_that_cannot_be_are_refused(primitives, message):
    with pytest.raises(ValueError, match=message):
        Space("mine", primitives, num_nodes=1)


@pytest.mark.parametrize(
    "live, message",
    [
        ((((0,), (0,)),), r"live has edges \[2\] by kind of cell, but must have 2 for"),
        ((((0,), ()), ((0,), (0,))), r"the primitives \[\], but an edge needs"),
        (
            (((1, 0), (0,)), ((0,), (0,))),
            r"\[1, 0\].*at least one of 0 to 1, ascending",
        ),
    ],
)
def test_positions_that_are_no_primitives_are_refused(live, message):
    with pytest.raises(ValueError, match=message):
        Space("mine", ("skip_connect", "none"), num_nodes=1, live=live)


def test_robust_darts_spaces_have_the_primitives_of_their_paper():
    s1, s2, s3, s4 = (SPACES[f"robust_s{number}"] for number in (1, 2, 3, 4))
    assert {s.edges for s in (s1, s2, s3, s4)} == {SPACES["darts8"].edges}
    assert {len(row) for rows in s1.live for row in rows} == {2}
    normal = [s1.primitives_of("normal", edge) for edge in range(14)]
    reduce = [s1.primitives_of("reduce", edge) for edge in range(14)]
    skips = sum("skip_connect" in names for names in normal)
    assert skips == 12 and normal[-2:] == 2 * [("dil_conv_3x3", "dil_conv_5x5")]
    assert sum(set(n) == {"max_pool_3x3", "avg_pool_3x3"} for n in reduce) == 6
    assert s2.primitives == ("skip_connect", "sep_conv_3x3")
    assert s3.primitives == ("none", "skip_connect", "sep_conv_3x3")
    assert s4.primitives == ("noise", "sep_conv_3x3") and s4.live is None


def test_a_registered_space_has_a_name_of_its_own(monkeypatch):
    monkeypatch.setattr("egnas_jax.space.registry.SPACES", dict(SPACES))
    assert register_space(GRAPH) is GRAPH
    with pytest.raises(ValueError, match="There is a space 'graph' already"):
        register_space(GRAPH)
    with pytest.raises(ValueError, match="takes a Space, got"):
        register_space("graph")
