"""Checks the names of primitives and the colours that follow from their families."""

import re

import pytest

from egnas_jax.space import (
    DARTS_PRIMITIVES,
    SPACES,
    Genotype,
    Space,
    Topology,
    draw_svg,
    zoo,
)
from egnas_jax.space.primitive_names import FAMILIES, register_name

PAIRS = [("blur_3x3", 0), ("skip_connect", 1)]


@pytest.fixture
def blur():
    """A registry that knows `blur_3x3` for the time of a test."""
    register_name("blur_3x3", "other")
    yield "blur_3x3"
    del FAMILIES["blur_3x3"]


def test_the_names_of_all_spaces_are_known():
    names = {name for space in SPACES.values() for name in space.primitives}

    assert names | set(DARTS_PRIMITIVES) == set(FAMILIES)


def test_a_registered_name_may_stand_in_a_genotype(blur):
    genotype = Genotype(PAIRS, [2], PAIRS, [2])

    assert genotype.normal[0] == (blur, 0)
    assert Genotype.parse(genotype.format()) == genotype
    assert Genotype.from_json(genotype.to_json()) == genotype
    assert blur in draw_svg(genotype)


def test_an_unknown_name_is_refused_with_what_adds_one():
    unknown = "Unknown primitive 'own_conv'.*own is added by its plug-in .--plugin"
    for make in (
        lambda: Genotype([("own_conv", 0), ("own_conv", 1)], [2], [], [2]),
        lambda: Topology.parse("|own_conv~0|"),
        lambda: Space("mine", ("own_conv",)),
    ):
        with pytest.raises(ValueError, match=unknown):
            make()


def test_an_unknown_name_is_refused_in_a_genotype():
    with pytest.raises(ValueError, match="Unknown primitive 'blur_3x3'"):
        Genotype(PAIRS, [2], PAIRS, [2])


@pytest.mark.parametrize(
    ("name", "family", "message"),
    [
        ("skip_connect", "skip", "There is a primitive 'skip_connect' already"),
        ("my conv", "conv", "'my conv' cannot be the name"),
        ("a|b", "conv", "cannot be the name"),
        ("", "conv", "cannot be the name"),
        ("3x3", "conv", "cannot be the name"),
        (3, "conv", "3 cannot be the name"),
        ("conv", "none", "family 'none'. Allowed families: conv, pool, skip, other"),
    ],
)
def test_a_bad_name_or_family_is_refused(name, family, message):
    before = dict(FAMILIES)

    with pytest.raises(ValueError, match=re.escape(message)):
        register_name(name, family)

    assert before == FAMILIES


def test_the_published_kinds_of_convolutions_have_colours_of_their_own():
    svg = draw_svg(zoo["AmoebaNet"].genotype)

    strokes = dict(re.findall(r'stroke="(#\w+)"[^>]*/>\n<text[^>]*>(\w+)<', svg))
    by_name = {name: colour for colour, name in strokes.items()}
    assert "sep_conv_7x7" in svg
    assert len(strokes) >= 4
    assert by_name["conv_7x1_1x7"] == "#CC79A7"
