"""Lists of stages are read, refused and filled with cells as documented."""

import pytest

from egnas_jax.space import SPACES, Space, Stage
from egnas_jax.space.stages import nearest_layers, network_stages, stages_text

KINDS = "normal", "reduce"
STAGES = (
    Stage("normal"),
    Stage("reduce", 2, stride=2),
    Stage("normal", width=1.5),
    Stage("normal", 1, 3, 2),
)
TEXT = "normal,reduce*2/2,normal@1.5,normal*1/2@3"


def test_records_and_text_are_one_form():
    assert stages_text("it", STAGES, KINDS) == TEXT
    assert stages_text("it", TEXT.replace(",", ", "), KINDS) == TEXT


@pytest.mark.parametrize("width", [4 / 3, 1e-5, 1e-16, 0.1 + 0.2, 2, 199.0])
def test_the_text_has_all_digits_of_a_width(width):
    text = stages_text("it", [Stage("normal", width=width), Stage("reduce")], KINDS)
    assert network_stages(text, 2)[0].width == width
    assert stages_text("it", text, KINDS) == text


def test_a_space_takes_a_list_of_stages_as_its_macro_structure():
    space = Space("mine", ("skip_connect", "sep_conv_3x3"), macro=list(STAGES))
    assert (space.macro, space.stages) == ("darts", TEXT)
    assert eval(repr(space)) == space  # written and read as Python
    assert SPACES["darts7"].stages is None


@pytest.mark.parametrize("layers", range(1, 22))
def test_the_stages_of_darts_reduce_at_a_third_and_two_thirds(layers):
    stages = network_stages(None, layers)
    cells = [(s.kind, s.stride) for s in stages for _ in range(s.cells)]
    places = (layers // 3, 2 * layers // 3)
    reduced, kept = ("reduce", 2), ("normal", 1)
    assert cells == [reduced if i in places else kept for i in range(layers)]


def test_layers_fill_the_stages_without_a_number_of_cells():
    assert [s.cells for s in network_stages(TEXT, 9)] == [3, 2, 3, 1]
    nearest = [nearest_layers(TEXT, layers) for layers in (1, 5, 6, 7, 8, 20)]
    assert nearest == [5, 5, 7, 7, 7, 19]  # an even number in two stages, and three
    assert nearest_layers("normal*3,reduce*1/2", 20) == 4
    with pytest.raises(ValueError, match=r"layers is 8, but the stages .* layers=7"):
        network_stages(TEXT, 8)


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([], "must be a list of Stage, at least one"),
        ([("normal", 3)], "must be a list of Stage"),
        ([Stage("normal")], "no stage of reduce cells"),
        ([Stage("normal"), Stage("cell")], "kind='cell', but it must be 'normal' or"),
        ([Stage("normal", 0)], "cells=0, but it must be a whole number from 1"),
        ([Stage("normal", 1, 0.0)], "width=0.0, but it must be a number above 0"),
        ([Stage("normal", stride=3)], "stride=3, but it must be 1 or 2"),
        ([Stage("normal", stride=True)], "stride=True, but it must be 1 or 2"),
        ([Stage("normal", stride=2.0)], "stride=2.0, but it must be 1 or 2"),
        (Stage("normal"), r"is Stage\(kind='normal'.*but must be a list of Stage"),
        (3, "is 3, but must be a list of Stage"),
        ("normal*\u0663,reduce", "the stage 'normal\\*\u0663', which is none"),
        ("normal*3;reduce", "the stage 'normal\\*3;reduce', which is none. Write KIND"),
        ("normal/4,reduce", "the stage 'normal/4', which is none"),
    ],
)
def test_stages_that_cannot_be_are_refused(stages, message):
    field = "stages" if isinstance(stages, str) else "macro"
    with pytest.raises(ValueError, match=f"The space mine: macro .*{message}"):
        Space("mine", ("skip_connect",), **{field: stages})


def test_stages_are_of_cells_with_two_inputs():
    parts = {"num_inputs": 1, "derive": "argmax", "output": "last"}
    with pytest.raises(ValueError, match="a list of stages is one of cells with two"):
        Space("mine", ("skip_connect",), macro="nasbench201", stages=TEXT, **parts)
    with pytest.raises(ValueError, match="num_inputs is 1"):
        Space("mine", ("skip_connect",), macro=STAGES, **parts)
