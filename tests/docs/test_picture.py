"""The picture of the front page shows every individual, and the cell of a search."""

import importlib.util
import pathlib
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

import egnas_jax as eg

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "docs" / "pictures"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def front():
    spec = importlib.util.spec_from_file_location("front_picture", FOLDER / "front.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def circles(picture):
    return [
        (float(dot.get("cx")), float(dot.get("cy")))
        for dot in picture.iter(f"{SVG}circle")
    ]


def test_each_individual_is_a_dot_and_the_best_of_a_generation_another(front):
    fitness = np.array([[0.9, 0.2, 0.4], [0.1, 0.5, 0.3]])
    genotype = eg.zoo["DARTS_V2"].genotype
    picture = front.picture(front.Evaluated(fitness, 719), genotype)
    dots = circles(ElementTree.fromstring(picture))
    individuals, best = dots[:3] + dots[3:6], dots[6:]
    heights = np.array([y for _, y in individuals])
    # lower fitness is lower on the page, in proportion
    slope = np.diff(heights) / np.diff(fitness.ravel())
    assert np.allclose(slope, slope[0], rtol=0.01) and slope[0] < 0
    assert best == [individuals[1], individuals[3]]
    assert "719 images" in picture


def test_only_the_first_cell_is_drawn(front):
    genotype = eg.zoo["DARTS_V2"].genotype
    cell = front.first_cell(genotype)
    assert cell.body.count("c_{k-2}") == 1 and "Reduction" not in cell.body
    assert cell.body.count("sep_conv_3x3") == 5  # as many as the normal cell has
    assert 400 < cell.width < 800 and 150 < cell.height < 300


def test_the_committed_picture_is_one_of_this_script(front):
    picture = ElementTree.parse(FOLDER / "front.svg")
    assert len(circles(picture)) == front.GENERATIONS * (front.POPULATION + 1)
    texts = [text.text for text in picture.iter(f"{SVG}text")]
    assert front.FOUND in texts and "c_{k}" in texts
