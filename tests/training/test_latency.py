"""Latencies are medians of runs, and their table is measured once and stored."""

import dataclasses
import json
import time

import jax
import numpy as np
import pytest

import egnas_jax as eg
from egnas_jax.nn.edge_costs import CountedNetwork
from egnas_jax.nn.primitives import PRIMITIVES
from egnas_jax.space.primitive_names import FAMILIES
from egnas_jax.training import latency as measurement
from egnas_jax.training import latency_table
from egnas_jax.training.latency_table import EdgePlace

SPACE = eg.SPACES["darts7"]
NETWORK = CountedNetwork(eg.NetworkConfig(channels=4, layers=5, auxiliary=False), 16, 3)
# normal, reduction, normal, reduction, normal: C of 4, 8, 8, 16, 16
PLACES = {
    ("normal", True): [(4, 16, 1), (8, 8, 1), (16, 4, 1)],
    ("reduce", True): [(8, 16, 2), (16, 8, 2)],
    ("reduce", False): [(8, 8, 1), (16, 4, 1)],
}


def made_up_seconds(name, place, batch_size):
    """As many nanoseconds as tell where an edge is and what it computes."""
    number = SPACE.primitives.index(name) + 1
    return (
        batch_size * number * (place.channels + 100 * place.side) * place.stride / 1e9
    )


@pytest.fixture
def made_up(monkeypatch, tmp_path):
    """Measures nothing; counts the tables that would be measured."""
    tables = []

    def frame(genotype, **_):
        tables.append(genotype)
        return 1.0

    monkeypatch.setattr(latency_table, "edge_seconds", made_up_seconds)
    monkeypatch.setattr(latency_table, "latency", frame)
    monkeypatch.setattr(latency_table, "cache_folder", lambda: tmp_path)
    return tables


def test_a_latency_is_the_median_after_the_first_runs(monkeypatch):
    # Three runs that warm up, then five; a clock is read before and after each.
    durations = iter([50, 50, 50, 3, 9, 1, 2, 4])
    now = [0.0]

    def clock():
        return now[0]

    def program():
        now[0] += next(durations)

    monkeypatch.setattr(time, "perf_counter", clock)
    assert measurement.median_seconds(program, (), repeats=5) == 3


@pytest.mark.parametrize("wrong", [dict(batch_size=0), dict(repeats=0.5)])
def test_wrong_numbers_are_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is .* a whole number"):
        eg.latency(eg.zoo["DARTS_V2"].genotype, **wrong)


def test_places_of_all_edges_of_a_network():
    found = {}
    for kind, from_input, place in latency_table.edge_places(SPACE, NETWORK):
        found.setdefault((kind, from_input), []).append(tuple(place))
    assert found.pop(("normal", False)) == found["normal", True]
    assert found == PLACES


def test_the_table_adds_up_what_was_measured(made_up):
    costs = latency_table.latency_costs(SPACE, NETWORK, 2)
    for number in range(7):
        unit = 2 * (number + 1)
        normal = unit * (4 + 1600 + 8 + 800 + 16 + 400)
        from_input = unit * 2 * (8 + 1600 + 16 + 800)
        from_node = unit * (8 + 800 + 16 + 400)
        assert (costs.edges[0, :, number] == normal).all()
        for edge, (source, _) in enumerate(SPACE.edges):
            expected = from_input if source < 2 else from_node
            assert costs.edges[1, edge, number] == expected
    # The frame is a second less the edges of the network that was measured.
    skip = SPACE.primitives.index("skip_connect")
    edges = 8 * (costs.edges[0, 0, skip] + costs.edges[1, 0, skip])
    assert costs.base == 10**9 - edges


def test_a_table_is_measured_once_for_what_it_depends_on(made_up, tmp_path):
    notes = []
    first = latency_table.latency_costs(SPACE, NETWORK, 2, log=notes.append)
    again = latency_table.latency_costs(SPACE, NETWORK, 2, log=notes.append)
    assert len(made_up) == len(notes) == 1 and first.base == again.base
    np.testing.assert_array_equal(first.edges, again.edges)
    latency_table.latency_costs(SPACE, NETWORK, 3)
    latency_table.latency_costs(SPACE, NETWORK._replace(image_size=8), 2)
    latency_table.latency_costs(dataclasses.replace(SPACE, name="other"), NETWORK, 2)
    assert len(made_up) == 4
    assert len(list((tmp_path / "latencies").glob("*.json"))) == 4


def test_a_table_of_something_else_is_not_read(made_up, tmp_path):
    latency_table.latency_costs(SPACE, NETWORK, 2)
    (path,) = (tmp_path / "latencies").glob("*.json")
    stored = json.loads(path.read_text())
    stored["identity"]["jaxlib"] = "0.0"
    path.write_text(json.dumps(stored))
    latency_table.latency_costs(SPACE, NETWORK, 2)
    assert len(made_up) == 2


def test_a_table_names_the_processor_or_the_kind_of_the_device():
    identity = latency_table.table_identity(SPACE, NETWORK, 2)
    assert identity["batch_size"] == 2 and identity["dtype"] == "float32"
    if jax.default_backend() == "cpu":
        assert "cores" in identity["device"]
    else:
        assert identity["device"] == jax.devices()[0].device_kind


def test_cells_with_one_input_have_a_table(made_up, monkeypatch):
    space = eg.SPACES["nasbench201"]
    config = eg.NetworkConfig(channels=4, layers=8, auxiliary=False)
    network = CountedNetwork(config, 16, 3)

    def seconds(name, place, batch_size):
        assert place.stride == 1
        number = space.primitives.index(name)
        return batch_size * number * (place.channels + 100 * place.side) / 1e9

    monkeypatch.setattr(latency_table, "edge_seconds", seconds)
    costs = latency_table.latency_costs(space, network, 3)
    # two cells in each of three stages, of 4, 8, 16 channels and sides of 16, 8, 4
    one = 3 * 2 * (4 + 1600 + 8 + 800 + 16 + 400)
    np.testing.assert_array_equal(costs.edges, np.tile(one * np.arange(5), (1, 6, 1)))
    assert costs.base == 10**9 - 6 * one  # less the six edges of skip_connect
    assert made_up == [eg.Topology(6 * ("skip_connect",))]


def test_a_table_with_primitives_of_plugins_is_stored_under_their_digests(
    made_up, monkeypatch, tmp_path
):
    own = eg.Primitive("own", lambda key, channels, stride: ({}, {}), lambda *_: None)
    monkeypatch.setitem(PRIMITIVES, "own", own)
    monkeypatch.setitem(FAMILIES, "own", "other")
    space = eg.Space("with_own", ("skip_connect", "own"))
    monkeypatch.setattr(latency_table, "edge_seconds", lambda *_: 1e-9)
    for plugins, tables in ((None, 1), (None, 2), ([["a", ("1",)]], 3)):
        latency_table.latency_costs(space, NETWORK, 1, plugins=plugins)
        assert len(made_up) == tables
    latency_table.latency_costs(space, NETWORK, 1, plugins=[["a", ("1",)]])
    assert len(made_up) == 3 and len(list((tmp_path / "latencies").iterdir())) == 1
    latency_table.latency_costs(space, NETWORK, 1, plugins=[["a", ("2",)]])
    assert len(made_up) == 4 and len(list((tmp_path / "latencies").iterdir())) == 2


@pytest.mark.slow
def test_an_edge_that_draws_is_measured():
    assert 0 < latency_table.edge_seconds("noise", EdgePlace(4, 8, 1), 2) < 1


@pytest.mark.longest
def test_an_edge_takes_longer_on_more_channels():
    seconds = [
        latency_table.edge_seconds("sep_conv_5x5", EdgePlace(channels, 16, 1), 8)
        for channels in (4, 64)
    ]
    assert 0 < 2 * seconds[0] < seconds[1] < 1
    assert latency_table.edge_seconds("none", EdgePlace(4, 16, 1), 8) == 0


@pytest.mark.slow
def test_a_measured_network_takes_longer_for_more_images():
    genotype = eg.zoo["DARTS_V2"].genotype
    seconds = [
        eg.latency(
            genotype, network=NETWORK.config, image_size=16, batch_size=n, repeats=5
        )
        for n in (1, 64)
    ]
    assert 0 < 4 * seconds[0] < seconds[1] < 10
