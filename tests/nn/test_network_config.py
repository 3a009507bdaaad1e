"""The plan of the cells of derived networks, and checks of their configuration."""

import pytest

from egnas_jax.nn.network_config import NetworkConfig, cell_plan
from egnas_jax.space import zoo

AMOEBANET = zoo["AmoebaNet"].genotype  # both cells output three nodes
NASNET = zoo["NASNet"].genotype  # five nodes, and three in the reduction


def test_reductions_lie_at_one_and_two_thirds_and_double_the_channels():
    plan = cell_plan(AMOEBANET, NetworkConfig(channels=36, layers=20))
    assert [i for i, cell in enumerate(plan) if cell.kind == "reduce"] == [6, 13]
    assert [plan[i].channels for i in (0, 5, 6, 12, 13, 19)] == [
        *[36, 36, 72, 72, 144, 144]
    ]


def test_inputs_have_the_concatenated_channels_of_the_cells_before():
    plan = cell_plan(NASNET, NetworkConfig(channels=8, layers=6))
    assert [cell.inputs for cell in plan] == [
        (24, 24),  # the stem has three times C
        (24, 40),
        (40, 40),  # a reduction: three nodes of 16
        (40, 48),
        (48, 80),  # a reduction: three nodes of 32
        (80, 96),
    ]
    after = [cell.reduced_before for cell in plan]
    assert after == [False, False, False, True, False, True]


def test_the_imagenet_stem_outputs_states_of_two_sizes():
    config = NetworkConfig(channels=48, layers=14, num_classes=1000, frame="imagenet")
    plan = cell_plan(AMOEBANET, config)
    assert plan[0].inputs == (48, 48) and plan[0].reduced_before
    assert [i for i, cell in enumerate(plan) if cell.reduction] == [4, 9]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("channels", 0, "^network.channels is 0, but must be from 1 to 4096"),
        ("channels", 36.0, "channels is 36.0, but must be a whole number"),
        ("layers", True, "layers is True, but must be a whole number"),
        ("layers", 10**6, "^network.layers is 1000000, but must be from 1 to 200"),
        ("num_classes", -1, "num_classes is -1, but must be from 1"),
        ("num_classes", None, "num_classes is None, but must be a whole number"),
        ("auxiliary", 1, "^network.auxiliary is 1, but must be true or false"),
        (
            "drop_path",
            1.0,
            "^network.drop_path is 1.0, but must be a probability below 1",
        ),
        ("drop_path", float("nan"), "drop_path is nan, but must be a probability"),
        ("drop_path", "0.3", "drop_path is '0.3', but must be a number"),
        ("frame", "cifar10", "Did you mean cifar"),
    ],
)
def test_bad_values_are_refused_with_what_is_allowed(field, value, message):
    with pytest.raises(ValueError, match=message):
        NetworkConfig(**{field: value})


def test_an_odd_width_does_not_fit_the_imagenet_stem():
    with pytest.raises(ValueError, match="is 7, .* even in the imagenet frame"):
        NetworkConfig(channels=7, frame="imagenet")
