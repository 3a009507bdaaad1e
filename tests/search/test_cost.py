"""Costs of an epoch and of a search against counts by hand."""

import pytest

from egnas_jax.nn.supernet import SupernetConfig, make_supernet
from egnas_jax.search.cost import Passes, epoch_costs, total_costs
from egnas_jax.strategies import STRATEGIES

NET = make_supernet(SupernetConfig(channels=4, layers=3))
# five steps of 16 training images, each with 8 of validation
EPOCH = {"train_images": 80, "valid_images": 40, "metrics": {}}


def passes_of(name, **settings):
    config, make = STRATEGIES[name]
    return make(NET, config(**settings)).passes


@pytest.mark.parametrize(
    "name, settings, epoch, cost",
    [
        # a forward and backward pass of each validation image
        ("darts", {}, 0, 3 * 40),
        # and on the training batch: the step's gradient, and two displaced gradients
        ("darts", {"second_order": "finite_difference"}, 0, 3 * 40 + 3 * 3 * 80),
        # or the derivative of a gradient, which takes the passes of two
        ("darts", {"second_order": "exact"}, 0, 3 * 40 + 3 * 80 + 2 * 3 * 80),
        ("pc_darts", {"warmup": 2}, 1, 0),
        ("pc_darts", {"warmup": 2}, 2, 3 * 40),
        ("p_darts", {"warmup": 1}, 0, 0),
        ("p_darts", {"warmup": 1}, 1, 3 * 40),
        # it learns from the gradient of the weight step
        ("snas", {}, 5, 0),
    ],
)
def test_the_choice_costs_its_passes_and_the_weights_three_an_image(
    name, settings, epoch, cost
):
    costs = epoch_costs(passes_of(name, **settings), epoch, **EPOCH)
    assert costs == {"weight_cost": 3 * 80, "search_cost": cost}


def test_a_method_that_ranks_counts_its_own_forward_passes():
    counted = EPOCH | {"metrics": {"candidate_images": 96.0, "fitness": 0.5}}
    assert epoch_costs(None, 0, **counted)["search_cost"] == 96.0
    assert epoch_costs(Passes(), 0, **counted)["search_cost"] == 0
    assert epoch_costs(None, 0, **EPOCH)["search_cost"] is None


def test_a_search_costs_the_sum_of_its_epochs():
    lines = [{"weight_cost": 240, "search_cost": 0}, {"weight_cost": 240}]
    assert total_costs(lines) == {"weight_cost": 480, "search_cost": None}
    lines[1]["search_cost"] = 96.0
    assert total_costs(lines) == {"weight_cost": 480, "search_cost": 96.0}
    assert total_costs([]) == {"weight_cost": 0, "search_cost": 0}
