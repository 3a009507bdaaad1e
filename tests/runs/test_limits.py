"""Limits from the settings of a search to its configuration, summary and report."""

import json

import numpy as np
import pytest
import tiny_search

import egnas_jax as eg
from egnas_jax.cli.main import main
from egnas_jax.runs import limits
from egnas_jax.runs.search_config import from_dict, limit_of
from egnas_jax.settings import as_dict
from egnas_jax.strategies.limits.config import Limit
from egnas_jax.studies.report.write import write_report

DIGITS, WIDE = (8, 8, 1), (8, 16, 3)


def limited(preset="digits", strategy="egnas", space=None, **values):
    settings = {f"strategy.limit.{name}": value for name, value in values.items()}
    return eg.search_config(preset, strategy=strategy, space=space, settings=settings)


@pytest.mark.parametrize(
    "preset, sizes",
    [("digits", (8, 5)), ("digits_large", (8, 5)), ("cifar10", (36, 20))],
)
def test_limits_are_of_the_network_that_the_preset_retrains(preset, sizes):
    limit = limit_of(limited(preset, params="3.2e6"))
    assert (limit.channels, limit.layers) == sizes
    assert limit.largest == {"params": 3_200_000}
    other = limit_of(limited(preset, params=1e6, channels=48, frame="imagenet"))
    assert (other.channels, other.layers, other.frame) == (48, sizes[1], "imagenet")


def test_a_search_without_limits_has_the_configuration_of_before():
    config = eg.search_config("digits")
    assert limit_of(config) == Limit()
    stored = json.loads(json.dumps(as_dict(config)))
    del stored["strategy"]["limit"]  # as an earlier version wrote it
    assert from_dict(stored) == config
    assert limit_of(eg.search_config("digits", strategy="darts")) == Limit()


def test_a_configuration_with_limits_is_stored_and_read_again():
    config = limited(strategy="nsga2", params=2e4, latency_ms=3)
    limit = Limit(**{**vars(limit_of(config)), "latencies": (1, 2, 3)})
    strategy = {**vars(config.strategy), "limit": limit}
    config = eg.SearchConfig(
        **{**vars(config), "strategy": type(config.strategy)(**strategy)}
    )
    stored = json.loads(json.dumps(as_dict(config)))
    assert from_dict(stored) == config
    stored["strategy"]["limit"]["params"] = "many"
    with pytest.raises(ValueError, match="params is 'many', but must be a number"):
        from_dict(stored)


@pytest.mark.parametrize("strategy", ["darts", "pc_darts", "p_darts", "snas"])
def test_methods_that_follow_gradients_take_no_limit(strategy):
    with pytest.raises(ValueError, match="Unknown path 'strategy.limit.params'"):
        limited(strategy=strategy, params=1e6)


def test_a_cell_of_nasbench201_is_counted_in_the_published_network():
    config = limited(space="nasbench201", strategy="random_search", params=1e6)
    limit = limits.limit_of_run(config, DIGITS, None, print)
    assert limit.channels is None and limit.image_size == 8
    network = limit.network(eg.SPACES["nasbench201"], 10)
    assert (network.config.channels, network.config.layers) == (16, 17)


def test_images_of_the_data_complete_the_limits():
    limit = limits.limit_of_run(limited(params=1e6), DIGITS, None, print)
    assert (limit.image_size, limit.image_channels) == (8, 1)
    with pytest.raises(ValueError, match="8x16 pixels"):
        limits.limit_of_run(limited(params=1e6), WIDE, None, print)
    limit = limits.limit_of_run(limited(params=1e6, image_size=16), WIDE, None, print)
    assert (limit.image_size, limit.image_channels) == (16, 3)
    assert limits.limit_of_run(eg.search_config("digits"), WIDE, None, print) == Limit()


def test_a_run_keeps_the_table_that_it_began_with(tmp_path, monkeypatch):
    config = limited(latency_ms=1.0)
    measured = eg_costs(1)
    monkeypatch.setattr(limits, "latency_costs", lambda *a, **k: measured)
    limit = limits.limit_of_run(config, DIGITS, tmp_path, print)
    assert limit.latencies == (1, *range(196))
    stored = {"strategy": {"limit": {"latencies": [5, *range(196)]}}}
    (tmp_path / "config.json").write_text(json.dumps(stored))
    limit = limits.limit_of_run(config, DIGITS, tmp_path, print)
    assert limit.latencies == (5, *range(196))


def eg_costs(base):
    from egnas_jax.nn.edge_costs import EdgeCosts

    return EdgeCosts(base, np.arange(196).reshape(2, 14, 7))


def test_the_costs_of_a_run_are_those_of_its_genotype():
    genotype = eg.zoo["DARTS_V2"].genotype
    config = limited("cifar10", params=4e6)
    found = limits.costs_of_run(config, genotype)
    assert found["limits"] == {"params": 4e6}
    assert found["costs"] == vars(eg.cost(genotype))
    assert limits.costs_of_run(eg.search_config("cifar10"), genotype) is None


def test_the_network_of_a_limit_has_the_stages_of_its_space(tmp_path, monkeypatch):
    stages = [eg.Stage("reduce", cells=1, stride=2), eg.Stage("normal")]
    space = eg.Space("staged", eg.SPACES["darts7"].primitives, macro=stages)
    monkeypatch.setitem(eg.SPACES, "staged", space)
    found = limits.costs_of_run(
        limited("cifar10", space="staged", params=4e6), eg.zoo["DARTS_V2"].genotype
    )
    network = found["network"]
    assert network["stages"] == space.stages == "reduce*1/2,normal"
    config = eg.NetworkConfig(
        **{name: network[name] for name in limits.NETWORK}, auxiliary=False
    )
    assert found["costs"] == vars(eg.cost(eg.zoo["DARTS_V2"].genotype, config))
    # a run without limits is counted in the same network
    write_run(tmp_path / "free", 0.9, {}, {})
    write_run(tmp_path / "kept", 0.8, {}, {"limited": found})
    runs = [str(tmp_path / "free"), str(tmp_path / "kept")]
    text = write_report(runs, str(tmp_path / "out")).with_suffix(".md").read_text()
    assert text.count(f"| {found['costs']['params']:,} |") == 2


def test_the_predicted_latency_adds_up_the_edges_of_the_genotype():
    # 100 ns the frame, 7 the skips of normal cells, 1000 those of reduction cells
    edges = np.zeros((2, 14, 7), np.int64)
    edges[0, :, 3], edges[1, :, 3] = 7, 1000
    config = limited("cifar10", latency_ms=1.0)
    limit = Limit(
        **{**vars(limit_of(config)), "latencies": (100, *edges.ravel().tolist())}
    )
    pairs = [("skip_connect", 0), ("sep_conv_3x3", 1)] * 4
    genotype = eg.Genotype(pairs, range(2, 6), pairs, range(2, 6))
    name = eg.SPACES["darts7"].primitives[3]
    count = sum(primitive == name for primitive, _ in genotype.normal)
    predicted = limits._predicted(limit, eg.SPACES["darts7"], genotype)
    assert predicted == {"latency_ms": (100 + count * 1007) / 1e6}


@pytest.mark.parametrize(
    "value, message", [("0", "strategy.limit.params is 0.0"), ("x", "takes a number")]
)
def test_wrong_limits_end_the_command(value, message, capsys):
    command = ["search", "--print-config", "--set", f"strategy.limit.params={value}"]
    assert main(command) == 2
    assert message in capsys.readouterr().err


def test_searches_in_the_table_take_no_limits():
    from egnas_jax.studies.nasbench201.table_search_config import build

    with pytest.raises(ValueError, match="take no limits"):
        build(None, ["egnas.limit.params=1e6"])


def write_run(folder, accuracy, settings, summary):
    folder.mkdir()
    genotype = eg.zoo["DARTS_V2"].genotype.format()
    line = {"epoch": 0, "valid_accuracy": accuracy, "seconds": 1.0, "over_limit": 0.25}
    line["genotype"] = genotype
    (folder / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    config = as_dict(eg.search_config("cifar10", settings=settings))
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "summary.json").write_text(json.dumps(summary))


def test_the_report_sets_limits_beside_costs(tmp_path):
    genotype = eg.zoo["DARTS_V2"].genotype
    config = limited("cifar10", params=4e6)
    found = {"limited": limits.costs_of_run(config, genotype)}
    write_run(tmp_path / "free", 0.9, {}, {})
    write_run(tmp_path / "kept", 0.8, {"strategy.limit.params": 4e6}, found)
    runs = [str(tmp_path / "free"), str(tmp_path / "kept")]
    text = write_report(runs, str(tmp_path / "out")).with_suffix(".md").read_text()
    row = "| 3,349,342 | 528,359,040 | 1,769,472 | - | 25.0 |"
    assert f"| none {row} 90.00 |" in text
    assert f"| params 4e+06 {row} 80.00 |" in text
    text = write_report(runs[:1], str(tmp_path / "out")).with_suffix(".md").read_text()
    assert "Limits and costs" not in text


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["egnas", "random_search", "ageing_evolution"])
def test_a_search_under_limits_resumes_and_writes_its_costs(strategy, tmp_path):
    limit = {"params": 2600.0, "channels": 4, "layers": 3}
    settings = {f"strategy.limit.{name}": value for name, value in limit.items()}
    settings |= tiny_search.OF_ANY_METHOD | {"epochs": 2}
    sizes = {
        "egnas": {"population": 4, "fitness_batch_size": 64},
        "random_search": {"candidates": 8, "fitness_batch_size": 64},
        "ageing_evolution": {"population": 6, "tournament": 2, "children": 4},
    }
    if strategy == "ageing_evolution":
        sizes[strategy] |= {"generations": 2, "finalists": 2, "final_batches": 1}
    settings |= {f"strategy.{k}": v for k, v in sizes[strategy].items()}
    with tiny_search.registered_space():
        config = eg.search_config(
            "digits", strategy=strategy, space="tiny", settings=settings
        )
        eg.run_search(config, out=tmp_path / "run", stop_after=1)
        resumed = eg.run_search(config, out=tmp_path / "run", resume=True)
        assert main(["verify", str(tmp_path / "run"), "--from-start"]) == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    costs = summary["limited"]["costs"]
    network = eg.NetworkConfig(channels=4, layers=3, auxiliary=False)
    assert costs["params"] <= 2600
    assert costs == vars(
        eg.cost(resumed.genotype, network, image_size=8, image_channels=1)
    )
    assert "over_limit" in resumed.records[-1]
