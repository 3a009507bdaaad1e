"""Tests of NAS-Bench-201 cells: text, JSON, derivation, drawing, the table's order."""

import itertools
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from egnas_jax.space import (
    SPACES,
    Genotype,
    Topology,
    derive,
    draw_svg,
    genotype_from_json,
    parse_genotype,
)
from egnas_jax.types import Mixing

SPACE = SPACES["nasbench201"]
TEXT = (
    "|nor_conv_3x3~0|+|nor_conv_1x1~0|none~1|+"
    "|skip_connect~0|avg_pool_3x3~1|nor_conv_3x3~2|"
)
CELL = Topology(re.findall(r"\w+(?=~)", TEXT))


def one_hot(choices):
    rows = np.eye(5, dtype=np.float32)[list(choices)]
    return Mixing({"cell": rows}, {"cell": np.ones(6, np.float32)})


def test_the_space_has_six_edges_in_the_order_of_the_text():
    assert SPACE.edges == ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
    assert (SPACE.num_edges, SPACE.dim) == (6, 30)


def test_a_text_and_its_primitives_convert_to_each_other():
    assert Topology.parse(TEXT) == CELL
    assert CELL.format() == TEXT
    assert CELL.choices == (3, 2, 0, 1, 4, 3)


def test_all_cells_survive_text_json_and_derivation():
    texts = set()
    for choices in itertools.product(range(5), repeat=6):
        cell = Topology.of_choices(choices)
        assert Topology.parse(cell.format()) == cell
        assert Topology.from_json(cell.to_json()) == cell
        assert derive(SPACE, one_hot(choices)) == cell
        texts.add(cell.format())
    assert len(texts) == 15625


def test_rows_of_the_table_are_the_cells_that_the_benchmark_names(nasbench201):
    # The text that the benchmark's own API prints for this index.
    names = {
        9930: "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+"
        "|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|",
    }
    with np.load(nasbench201) as table:
        assert tuple(table["op_names"]) == SPACE.primitives
        for index, text in names.items():
            assert Topology.of_choices(table["edge_ops"][index]).format() == text
            assert tuple(table["edge_ops"][index]) == Topology.parse(text).choices


def test_each_edge_keeps_its_strongest_primitive_and_ties_go_to_the_earlier():
    rows = np.full((6, 5), 0.2, np.float32)
    rows[1] = [0.5, 0.1, 0.1, 0.2, 0.1]
    rows[2] = [0.1, 0.1, 0.1, 0.3, 0.4]
    rows[3] = [0.1, 0.3, 0.3, 0.2, 0.1]
    mixing = Mixing({"cell": rows}, {"cell": np.ones(6, np.float32)})
    assert derive(SPACE, mixing).choices == (0, 0, 4, 1, 0, 0)


def test_a_mixing_of_another_space_is_refused():
    with pytest.raises(ValueError, match="lacks the kind 'cell'"):
        derive(SPACE, Mixing({"normal": np.ones((6, 5))}, {"normal": np.ones(6)}))


@pytest.mark.parametrize(
    "text, message",
    [
        (TEXT.replace("none", "non"), "Unknown primitive 'non'. Did you mean none"),
        (TEXT.replace("|nor_conv_1x1~0|none~1|", "|"), "Node 2 takes `op~source` betw"),
        (
            TEXT.replace("none~1", "none~0"),
            r"ascending source \(here 1\), got 'none~0'",
        ),
        (TEXT.replace("none~1", "none"), r"ascending source \(here 1\), got 'none'"),
        (TEXT.partition("+")[2], r"Node 1 .* \(here none is left\), got 'none~1'"),
        ("|", "Node 1 takes `op~source` between bars"),
        ("|none~0|+" * 64 + "|none~0|", "has 65 groups between `.`, but a cell has at"),
        (7, "must be a str"),
    ],
)
def test_errors_name_the_wrong_part_of_a_text(text, message):
    with pytest.raises(ValueError, match=message):
        Topology.parse(text)


@pytest.mark.parametrize(
    "choices, message",
    [
        (
            (0, 0, -1, 0, 0, 0),
            r"Choice -1 of edge 2 .* Allowed: 0 to 4, for none, skip",
        ),
        ((0, 0, 0, 0, 0, 5), "Choice 5 of edge 5 is no primitive of the space nasben"),
        ((0, 0, 0, 0, 0, True), "A choice must be a whole number, got True"),
        ((0, 0, 0, 0, 0, 1.0), "A choice must be a whole number, got 1.0"),
        (
            (0,),
            "has 6 edges, got 1 primitives. The text of a cell has a group for each",
        ),
    ],
)
def test_choices_that_a_space_lacks_are_refused(choices, message):
    with pytest.raises(ValueError, match=message):
        Topology.of_choices(choices)


@pytest.mark.parametrize("primitives", [("none",) * 5, "none", 3])
def test_wrong_lists_of_primitives_are_refused(primitives):
    with pytest.raises(ValueError, match=r"six|6 edges|list of primitives"):
        Topology(primitives)


@pytest.mark.parametrize(
    "edges, message",
    [
        (3, r"The cell: edges must be pairs \(source, target\), got 3"),
        (((0, 1, 2),), r"The cell: an edge is a pair .* got \(0, 1, 2\)"),
        ((0, 1), "an edge is a pair .* got 0"),
        (((0, True),), "an edge is a pair .* of whole numbers"),
    ],
)
def test_wrong_edges_are_refused(edges, message):
    with pytest.raises(ValueError, match=message):
        Topology(("none",), edges)


@pytest.mark.parametrize("text", ['{"cell": 1}', '{"cel": "|"}', "[]", "{"])
def test_wrong_json_is_refused(text):
    with pytest.raises(ValueError, match=r"str|exactly|read"):
        Topology.from_json(text)


def test_both_families_are_recognised_by_their_text_and_by_their_json():
    darts = Genotype([("skip_connect", 0)] * 2, [2], [("skip_connect", 1)] * 2, [2])
    for genotype in (CELL, darts):
        assert parse_genotype(genotype.format()) == genotype
        assert genotype_from_json(genotype.to_json()) == genotype
    with pytest.raises(ValueError, match="cannot be read"):
        genotype_from_json("{")


def test_the_drawing_shows_every_edge_and_holds_the_text():
    root = ElementTree.fromstring(draw_svg(CELL))
    svg = "{http://www.w3.org/2000/svg}"
    texts = [element.text for element in root.iter(f"{svg}text")]
    assert sorted(texts) == sorted(
        [*CELL.primitives, "Cell", "input", "1", "2", "output"]
    )
    assert Topology.parse(root.find(f"{svg}desc").text) == CELL
    lines = [path for path in root.iter(f"{svg}path") if path.get("fill") == "none"]
    assert len(lines) == 6
    assert [line.get("stroke-dasharray") is not None for line in lines].count(True) == 1
