"""Tests of the derivation in spaces of other graphs, rules and primitives of edges."""

import dataclasses
import functools
import inspect

import numpy as np
import pytest

from egnas_jax.space import SPACES, Genotype, Space, Topology, derive, draw_svg
from egnas_jax.space.derivation import check_derivation
from egnas_jax.space.drawing.cells import cell_graphs
from egnas_jax.types import Mixing

NAMES = ("none", "skip_connect", "sep_conv_3x3")
EDGES = ((0, 2), (1, 2), (1, 3), (2, 3), (0, 4), (2, 4), (3, 4))
GRAPH = Space("graph", NAMES, num_nodes=3, edges=EDGES)
CHAIN = Space(
    "chain",
    NAMES,
    num_nodes=3,
    num_inputs=1,
    edges=((0, 1), (1, 2), (0, 3), (2, 3)),
    derive="argmax",
    output="last",
    macro="nasbench201",
)


def mixing_of(space, rows, edges=None):
    """The same rows [E, K] and edge weights [E] for every kind of cell."""
    rows = np.asarray(rows, np.float32)
    edges = np.ones(len(rows), np.float32) if edges is None else np.asarray(edges)
    kinds = space.kinds
    return Mixing(dict.fromkeys(kinds, rows), dict.fromkeys(kinds, edges))


def one_hot(space, choices):
    return mixing_of(space, np.eye(len(space.primitives))[list(choices)])


def test_a_node_keeps_two_of_the_edges_that_it_has():
    rows = [[0, 0, 1]] * 7
    rows[5] = [0, 2, 1]  # from node 2 to the last one
    rows[6] = [9, 0, 0.5]  # none does not count
    genotype = derive(GRAPH, mixing_of(GRAPH, rows))
    conv = "sep_conv_3x3"
    assert genotype.normal == (
        *((conv, 0), (conv, 1)),
        *((conv, 1), (conv, 2)),
        *(("skip_connect", 2), (conv, 0)),
    )
    assert genotype.normal_concat == (2, 3, 4)


def test_the_output_may_be_the_last_node():
    last = dataclasses.replace(GRAPH, output="last")
    genotype = derive(last, one_hot(last, [2] * 7))
    assert genotype.normal_concat == genotype.reduce_concat == (4,)
    assert genotype.primitives_of("normal") == ("sep_conv_3x3",) * 6


def test_all_edges_of_a_graph_are_kept_where_the_rule_is_argmax():
    space = dataclasses.replace(
        GRAPH, derive="argmax", num_nodes=2, edges=((0, 2), (0, 3), (1, 3), (2, 3))
    )
    genotype = derive(space, one_hot(space, [2, 2, 1, 2]))
    assert isinstance(genotype, Genotype)
    # node 2 has one edge; node 3 has three, as a chain of two links
    assert genotype.normal[:2] == (("sep_conv_3x3", 0), ("none", 0))
    assert genotype.normal[2:] == (
        *(("sep_conv_3x3", 0), ("skip_connect", 1)),
        *(("sep_conv_3x3", 2), ("skip_connect", 3)),
    )
    assert genotype.normal_concat == (2, 4)
    last = dataclasses.replace(space, output="last")
    assert derive(last, one_hot(last, [2, 2, 1, 2])).normal_concat == (4,)


def test_primitives_that_an_edge_lacks_are_never_derived():
    sets = dict.fromkeys(EDGES, ("none", "skip_connect"))
    sets |= {(0, 2): ("sep_conv_3x3",), (2, 4): ("none", "sep_conv_3x3")}
    for rule in ("darts", "argmax"):
        space = Space("sets", sets, num_nodes=3, edges=EDGES, derive=rule)
        position = {name: space.primitives.index(name) for name in NAMES}
        rows = np.zeros((7, 3))
        rows[:, position["sep_conv_3x3"]] = 1.0  # the strongest everywhere
        genotype = derive(space, mixing_of(space, rows))
        for primitive, source, target in genotype.edges_of("normal"):
            if primitive == "sep_conv_3x3":
                assert (source, target) in ((0, 2), (2, 4)) or rule == "argmax"
        convs = genotype.normal.count(("sep_conv_3x3", 0))
        assert convs + genotype.normal.count(("sep_conv_3x3", 2)) == 2


def test_a_cell_of_another_graph_survives_text_json_and_derivation():
    cell = derive(CHAIN, one_hot(CHAIN, [2, 1, 0, 2]))
    assert cell == Topology(
        ("sep_conv_3x3", "skip_connect", "none", "sep_conv_3x3"), CHAIN.edges
    )
    text = "|sep_conv_3x3~0|+|skip_connect~1|+|none~0|sep_conv_3x3~2|"
    assert cell.format() == text and Topology.parse(text) == cell
    assert Topology.from_json(cell.to_json()) == cell
    assert eval(repr(cell), {"Topology": Topology}) == cell
    with pytest.raises(ValueError, match="is no cell of NAS-Bench-201"):
        cell.choices  # noqa: B018


def test_the_drawing_of_another_graph_shows_its_edges():
    cell = derive(CHAIN, one_hot(CHAIN, [2, 1, 0, 2]))
    title, (graph,) = cell_graphs(cell)
    assert title == "A cell"
    assert graph.names == ("input", "1", "2", "output")
    assert graph.edges == cell.edges_of()
    assert draw_svg(cell).count("<path") == 2 * 4
    darts = derive(GRAPH, one_hot(GRAPH, [2] * 7))
    assert draw_svg(darts).count("sep_conv_3x3</text>") == 12


def keep_skips(space, mixing):
    """A rule of one's own: skips everywhere."""
    del mixing
    return Topology(("skip_connect",) * space.num_edges, space.edges)


def test_a_function_derives_the_genotype():
    space = dataclasses.replace(CHAIN, derive=keep_skips)
    assert derive(space, one_hot(space, [2] * 4)).primitives == ("skip_connect",) * 4
    assert hash(space) != hash(CHAIN)


def cut(space, mixing):
    """A rule that leaves no path from the input to the output."""
    del mixing
    return Topology(("skip_connect", "none", "none", "skip_connect"), space.edges)


def unknown(space, mixing):
    """A rule that names a primitive which does not exist."""
    del mixing
    return Topology(("skip",) * space.num_edges, space.edges)


def too_many_nodes(space, mixing):
    return Topology.parse("|skip_connect~0|+" * 4 + "|skip_connect~0|")


def foreign_edge(space, mixing):
    return Topology.parse("|skip_connect~0|+|skip_connect~0|+|skip_connect~2|")


def foreign_primitive(space, mixing):
    return Topology(("skip_connect", "nor_conv_3x3", "none", "none"), space.edges)


class Rule:
    """A rule that is an object, and returns no genotype."""

    def __call__(self, space, mixing):
        return "nothing"


@pytest.mark.parametrize(
    "rule, message",
    [
        (cut, "no path from an input to its output nodes"),
        (unknown, "Unknown primitive 'skip'"),
        (too_many_nodes, "nodes 1 to 5 and .* of the space chain has the nodes 1 to 3"),
        (foreign_edge, r"has the edge \(0, 2\), which the space chain lacks. Its edge"),
        (
            foreign_primitive,
            r"edge \(1, 2\) of the cell of its result has the primitive nor_conv_3x3, "
            "but in the space chain it has none or skip_connect or sep_conv_3x3",
        ),
        (Rule(), "returned 'nothing', but must return a Topology"),
        (lambda space, mixing: derive(SPACES["darts8"], mixing), "lacks the kind"),
    ],
)
def test_a_function_with_a_wrong_result_is_named_by_file_and_line(rule, message):
    space = dataclasses.replace(CHAIN, derive=rule)
    with pytest.raises(ValueError, match=message) as error:
        derive(space, one_hot(space, [2] * 4))
    code = getattr(rule, "__code__", None) or Rule.__call__.__code__
    line = inspect.getsourcelines(code)[1]
    assert f"test_derive_of_graphs.py:{line})" in str(error.value)


def follows_the_mixing(space, mixing):
    rows = np.asarray(mixing.primitives["cell"])
    assert set(rows[0]) > {0.0} and np.ptp(rows[1]) < 0.01  # primitives it lacks; even
    np.testing.assert_allclose(rows.sum(axis=1), 1, rtol=1e-6)
    names = np.asarray(space.primitives)[np.where(rows > 0, rows, -1).argmax(axis=1)]
    return Topology(np.where(names == "none", "skip_connect", names), space.edges)


def test_a_function_is_tried_before_a_search():
    sets = dict.fromkeys(CHAIN.edges, NAMES) | {(0, 1): NAMES[1:]}
    space = dataclasses.replace(CHAIN, primitives=sets, derive=follows_the_mixing)
    check_derivation(space)
    check_derivation(CHAIN)
    with pytest.raises(ValueError, match="no path from an input to its output nodes"):
        check_derivation(dataclasses.replace(CHAIN, derive=cut))


def test_a_partly_applied_function_is_named_by_its_file_and_line():
    rule = functools.partial(lambda space, mixing, result: result, result="nothing")
    space = dataclasses.replace(CHAIN, derive=rule)
    with pytest.raises(ValueError, match=r"chain \(\S*test_derive_of_graphs.py:\d+\)"):
        derive(space, one_hot(space, [2] * 4))


SETS = dict.fromkeys(EDGES, NAMES) | {(0, 2): ("sep_conv_3x3",)}
BY_KIND = {"normal": SETS, "reduce": NAMES}


def derived_by(result, **parts):
    """What `derive` makes of the result of a function, where edges have sets."""
    parts |= {"num_nodes": 3, "edges": EDGES, "derive": lambda space, mixing: result}
    space = Space("sets", BY_KIND, **parts)
    return derive(space, one_hot(space, [2] * 7))


def cells(*pairs, concat=(2, 3, 4), normal_0="sep_conv_3x3"):
    """A genotype with skips in these places; and its normal (0, 2) has a primitive."""
    normal, reduce = (
        [(name, source) for source in pairs] for name in 2 * ["skip_connect"]
    )
    normal[0] = (normal_0, pairs[0])
    return Genotype(normal, concat, reduce, concat)


def test_a_function_may_return_any_genotype_of_its_space():
    assert derived_by(cells(0, 1, 1, 2, 0, 3))
    every = Space("sets", BY_KIND, num_nodes=3, edges=EDGES, derive="argmax")
    chained = derive(every, one_hot(every, [2] * 7))
    assert len(chained.normal) == 2 * 4  # node 4 has three edges
    assert derived_by(chained) == chained


CHAINED = cells(0, 1, 1, 2, 0, 3, 2, 4, concat=(2, 3, 5))
LINK_READ_BY_CONV = dataclasses.replace(
    CHAINED, reduce=(*CHAINED.reduce[:-1], ("sep_conv_3x3", 4))
)


def test_links_cannot_be_told_from_nodes_where_the_output_is_the_last_node():
    last = dataclasses.replace(CHAINED, normal_concat=(5,), reduce_concat=(5,))
    assert derived_by(last, output="last") == last
    pairs = (*last.reduce[:-1], ("max_pool_3x3", 0))
    with pytest.raises(ValueError, match="reduce cell .* has the primitive max_pool"):
        derived_by(dataclasses.replace(last, reduce=pairs), output="last")


@pytest.mark.parametrize(
    "result, message",
    [
        (
            cells(0, 1, 1, 2, 0, 3, normal_0="skip_connect"),
            r"edge \(0, 2\) of the normal cell .* skip_connect, but .* sep_conv_3x3",
        ),
        (cells(0, 1, 0, 2, 0, 3), r"normal cell .* the edge \(0, 3\), which the space"),
        (cells(0, 1, 1, 2, concat=(2, 3)), "the nodes 2 to 3 .* the nodes 2 to 4, and"),
        (cells(0, 1, 1, 2, 0, 3, concat=(2, 4)), r"output nodes \[2, 4\], but"),
        (
            cells(0, 1, 1, 2, 0, 3, 1, 4, concat=(2, 3, 5)),
            r"normal cell .* edge \(1, 4\), which",
        ),
        (
            cells(0, 1, 1, 2, 0, 1, 3, 4, concat=(2, 3, 5)),
            r"normal cell .* edge \(1, 4\), which",  # of a link
        ),
        (
            cells(0, 1, 1, 2, 0, 3, 0, 1, concat=(2, 3, 4)),
            r"nodes 2 to 5 and the output nodes \[2, 3, 4\], but",
        ),
        (
            dataclasses.replace(
                cells(0, 1, 1, 2, 0, 3), reduce=cells(0, 0, 1, 2, 0, 3).reduce
            ),
            r"test_derive_of_graphs.py:\d+\).* reduce cell .* edge \(0, 2\) twice",
        ),
        (
            cells(0, 1, 1, 2, 2, 2),
            r"normal cell of its result has the edge \(2, 4\) twice, but a derived",
        ),
        (LINK_READ_BY_CONV, "node 4 .* sep_conv_3x3 to node 5, but is no output node"),
    ],
)
def test_a_genotype_of_another_space_is_refused(result, message):
    with pytest.raises(ValueError, match=message):
        derived_by(result)
