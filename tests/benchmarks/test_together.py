"""How many individuals go through at a time where searches share the memory."""

import jax
import pytest

from benchmarks import epoch, together
from benchmarks.deviceless.cards import CARDS
from benchmarks.deviceless.compile import as_if_on

PLAN = epoch.in_precision(epoch.FULL, "bfloat16")


def at_a_time(count):
    return together.sharing_memory(PLAN, count).strategy.population_chunk


@pytest.mark.parametrize("count, chunk", [(1, 51), (4, 51), (8, 26), (16, 13)])
def test_searches_share_the_memory_of_a_card(count, chunk):
    """50 individuals and alpha: 4.8 GB of 32 GB that may be filled on an H100."""
    with as_if_on(CARDS["h100"]):
        assert at_a_time(count) == chunk


def test_a_cpu_evaluates_one_individual_at_a_time_as_it_does_in_a_search():
    assert jax.default_backend() == "cpu"
    assert [at_a_time(count) for count in (1, 8)] == [1, 1]


def test_the_row_names_how_many_individuals_go_through_at_a_time():
    row = together.evolve(epoch.tiny_plan(), "float32", 2)
    assert row.individuals_at_a_time == 1
    assert together.train(epoch.tiny_plan(), "float32", 2).individuals_at_a_time is None
