"""Tests of the SVG drawings of genotypes and of their layout."""

import itertools
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from egnas_jax.space import SPACES, Genotype, derive, draw_svg, zoo
from egnas_jax.space.drawing.draw import OUTPUT_COLOUR
from egnas_jax.space.drawing.layout import Box, place
from egnas_jax.types import Mixing

SVG = "{http://www.w3.org/2000/svg}"


def frames(root):
    """(left, top, right, bottom) of each frame, with its text."""
    boxes = []
    for child, after in itertools.pairwise(root):
        if child.get("rx") and after.tag == f"{SVG}text":
            x, y, width, height = (
                float(child.get(name)) for name in ("x", "y", "width", "height")
            )
            boxes.append(((x, y, x + width, y + height), after.text))
    return boxes


def points(path):
    """Points on a path of M, H, C and l commands, 40 on each curve."""
    position, passed = (0.0, 0.0), []
    for command, numbers in re.findall(r"([MHC])([^MHClvz]*)", path.split("l")[0]):
        values = [float(number) for number in re.findall(r"-?[\d.]+", numbers)]
        if command == "M":
            ends = [tuple(values)]
        elif command == "H":
            ends = [
                (position[0] + (values[0] - position[0]) * t, position[1])
                for t in np.linspace(0, 1, 40)
            ]
        else:
            corners = np.array([position, *np.reshape(values, (3, 2)).tolist()])
            ends = [bezier(corners, t) for t in np.linspace(0, 1, 40)]
        passed += ends
        position = ends[-1]
    return passed


def bezier(corners, t):
    weights = np.array([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3])
    return tuple(weights @ corners)


def random_genotype(seed):
    rng = np.random.default_rng(seed)
    weights = {kind: rng.random((14, 7), np.float32) for kind in ("normal", "reduce")}
    ones = {kind: np.ones(14, np.float32) for kind in weights}
    return derive(SPACES["darts7"], Mixing(weights, ones))


GENOTYPES = {name: entry.genotype for name, entry in zoo.items()} | {
    f"random {seed}": random_genotype(seed) for seed in range(10)
}


@pytest.mark.parametrize("name", sorted(GENOTYPES))
def test_a_drawing_shows_every_edge_and_no_line_crosses_a_text(name):
    genotype = GENOTYPES[name]
    root = ElementTree.fromstring(draw_svg(genotype))
    boxes = frames(root)
    texts = sorted(text for _, text in boxes)
    names = [["c_{k-2}", "c_{k-1}", "c_{k}"]] * 2
    names += [map(str, range(len(genotype.blocks(k)))) for k in ("normal", "reduce")]
    names += [[primitive for primitive, _ in genotype.normal + genotype.reduce]]
    assert texts == sorted(itertools.chain(*names))
    width, height = float(root.get("width")), float(root.get("height"))
    for left, top, right, bottom in (box for box, _ in boxes):
        assert 0 < left < right < width and 0 < top < bottom < height
    for (a, _), (b, _) in itertools.combinations(boxes, 2):
        assert a[2] < b[0] or b[2] < a[0] or a[3] < b[1] or b[3] < a[1], name
    for path in root.iter(f"{SVG}path"):
        touched = {
            index
            for x, y in points(path.get("d"))
            for index, ((left, top, right, bottom), _) in enumerate(boxes)
            if left + 1 < x < right - 1 and top - 1 < y < bottom + 1
        }
        if path.get("fill") != "none":  # an arrow head
            assert not touched
        else:  # a line starts under its source and runs under its label
            assert len(touched) == 1 + (path.get("stroke") != OUTPUT_COLOUR)


def test_lines_start_at_their_sources_and_end_at_their_targets():
    pairs = [("sep_conv_3x3", 0), ("dil_conv_5x5", 1)]
    root = ElementTree.fromstring(draw_svg(Genotype(pairs, [2], pairs, [2])))
    middles = {text: ((a + c) / 2, (b + d) / 2) for (a, b, c, d), text in frames(root)}
    paths = [p.get("d") for p in root.iter(f"{SVG}path") if p.get("fill") == "none"]
    assert len(paths) == 6  # per cell two edges and one to the output
    ends = [(points(path)[0], points(path)[-1]) for path in paths[3:]]
    sources = [middles["c_{k-2}"], middles["c_{k-1}"], middles["0"]]
    targets = [middles["0"], middles["0"], middles["c_{k}"]]
    for (start, end), source, target in zip(ends, sources, targets, strict=True):
        np.testing.assert_allclose(start, source, atol=0.11)
        assert abs(end[1] - target[1]) < 10 and target[0] - 40 < end[0] < target[0]


def test_the_description_is_the_text_form_of_the_genotype():
    genotype = zoo["AmoebaNet"].genotype
    root = ElementTree.fromstring(draw_svg(genotype))
    assert Genotype.parse(root.find(f"{SVG}desc").text) == genotype


def test_the_output_of_a_normal_cell_may_include_an_input():
    pairs = [("sep_conv_3x3", 0), ("none", 0)]
    root = ElementTree.fromstring(draw_svg(Genotype(pairs, [1, 2], pairs, [2])))
    assert [text for _, text in frames(root)].count("none") == 2


def test_equal_genotypes_give_equal_drawings():
    assert draw_svg(random_genotype(0)) == draw_svg(random_genotype(0))


def test_the_layout_avoids_a_needless_crossing_and_keeps_distance():
    boxes = [Box(0, 10, 10), Box(0, 10, 10), Box(1, 10, 10), Box(1, 10, 10)]
    centres = place(boxes, [(0, 3), (1, 2)], gap=20, spacing=5)
    assert [x for x, _ in centres] == [5, 5, 35, 35]
    ys = [y for _, y in centres]
    assert (ys[0] < ys[1]) == (ys[3] < ys[2])
    assert abs(ys[0] - ys[1]) >= 15 and abs(ys[2] - ys[3]) >= 15
    np.testing.assert_allclose([ys[0], ys[1]], [ys[3], ys[2]], atol=1e-6)


def test_a_caption_stands_above_the_cells_and_moves_them_down():
    genotype = zoo["DARTS_V2"].genotype
    plain = ElementTree.fromstring(draw_svg(genotype))
    caption = "Found by a < b " * 9  # wider than the cells
    root = ElementTree.fromstring(draw_svg(genotype, caption))
    first = root.find(f"{SVG}text")
    assert first.text == caption and float(root.get("width")) > 8 * len(caption)
    moved = float(root.get("height")) - float(plain.get("height"))
    assert moved > 20
    for (box, text), (below, same) in zip(frames(plain), frames(root), strict=True):
        assert text == same and below[1] - box[1] == pytest.approx(moved, abs=0.11)
