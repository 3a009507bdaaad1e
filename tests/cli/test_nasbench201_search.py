"""A search in the space of NAS-Bench-201, and the commands that read its run."""

import json

import numpy as np
import pytest
import tiny_search

from egnas_jax.cli.main import main
from egnas_jax.nn.topology_cost import topology_params
from egnas_jax.runs.search_config import search_config
from egnas_jax.settings import as_dict
from egnas_jax.space import Topology

pytestmark = pytest.mark.slow

SEARCH = (
    "search --space nasbench201 --set supernet.channels=4 --set epochs=2 "
    "--set batch_size=256 --set strategy.population=4 "
    "--set strategy.fitness_batch_size=32 --out"
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Directory of a search of two epochs."""
    folder = tmp_path_factory.mktemp("search") / "run"
    assert main([*SEARCH.split(), str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def cell(run):
    """The cell that the search returned."""
    return Topology.from_json((run / "genotype.json").read_text())


def test_the_space_sets_the_layers_and_channels_of_the_benchmark():
    digits = search_config("digits", space="nasbench201").supernet
    assert (digits.layers, digits.channels, digits.partial_channels) == (5, 8, 1)
    cifar = search_config("cifar10", space="nasbench201").supernet
    assert (cifar.layers, cifar.channels, cifar.partial_channels) == (17, 16, 1)
    override = search_config(
        space="nasbench201", settings={"supernet.partial_channels": 2}
    )
    assert override.supernet.partial_channels == 2


def test_a_search_returns_a_cell_with_its_drawing_and_its_parameters(run, cell, capsys):
    summary = json.loads((run / "summary.json").read_text())
    assert Topology.parse(summary["genotype"]) == cell
    assert summary["params"] == topology_params(cell)
    assert summary["epochs"] == 2
    assert main(["derive", str(run)]) == 0
    assert capsys.readouterr().out.strip() == cell.format()
    assert "A cell of NAS-Bench-201" in (run / "genotype.svg").read_text()


def test_the_cell_can_be_drawn(run, tmp_path):
    out = tmp_path / "cell.svg"
    assert main(["draw", str(run), "--out", str(out)]) == 0
    assert out.read_text() == (run / "genotype.svg").read_text()


def test_a_network_of_three_stages_needs_fitting_settings(cell, capsys):
    command = ["retrain", "--genotype", cell.format(), "--set", "network.layers=6"]
    assert main(command) == 2
    assert "has 3 N + 2 layers" in capsys.readouterr().err


def test_the_cell_can_be_retrained_evaluated_and_exported(cell, tmp_path, capsys):
    out = tmp_path / "network"
    settings = {"epochs": 1, "network.channels": 4, "batch_size": 128}
    command = ["retrain", "--genotype", cell.format(), "--out", str(out)]
    assert main([*command, *tiny_search.words(settings)]) == 0
    summary = json.loads((out / "summary.json").read_text())
    layers = {"channels": 4, "layers": 5, "image_channels": 1}
    assert summary["params"] == topology_params(cell, **layers)
    capsys.readouterr()
    assert main(["evaluate", str(out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["test_error"] == summary["test_error_last"]
    for name in ("safetensors", "stablehlo"):
        file = tmp_path / f"network.{name}"
        assert main(["export", str(out), "--format", name, "--out", str(file)]) == 0
        assert file.stat().st_size > 0
    capsys.readouterr()
    assert main(["export", str(out), "--format", "onnx"]) != 0
    assert "Use --format stablehlo" in capsys.readouterr().err


def test_a_search_replays_to_the_same_digests(run, capsys):
    assert main(["verify", str(run), "--from-start"]) == 0
    assert "every digest is the same" in capsys.readouterr().out


def test_a_report_holds_the_cell(run, cell, tmp_path):
    out = tmp_path / "report"
    assert main(["report", str(run), "--out", str(out)]) == 0
    assert cell.format() in (out / "report.md").read_text()
    (data,) = out.rglob("cell*.csv")
    primitives = [line.split(",")[2] for line in data.read_text().splitlines()[1:]]
    assert primitives == list(cell.primitives)


@pytest.fixture(scope="module")
def rank_command(run, write_table, tmp_path_factory):
    """`egnas rank-correlation` with a table whose accuracies sum a cell's choices."""
    table = tmp_path_factory.mktemp("table") / "table.npz"
    write_table(table, lambda cells: (cells.sum(1) + 20.0, cells.sum(1) + 30.0))
    return ["rank-correlation", str(run), "--table", str(table)]


def test_the_supernet_ranks_a_sample_of_the_tables_cells(
    rank_command, tmp_path, capsys
):
    options = ["--sample", "6", "--images", "16", "--out", str(tmp_path), "--json"]
    assert main([*rank_command, *options]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result == json.loads((tmp_path / "rank_correlation.json").read_text())
    assert (result["cells"], result["images"], result["epochs"]) == (6, 16, 2)
    sample = result["sample"]
    sums = np.asarray([sum(Topology.parse(text).choices) for text in sample["cell"]])
    accuracies = sample["test_accuracy_200_epochs"]
    np.testing.assert_allclose(accuracies, (sums + 30) / 100, rtol=1e-6)
    assert (tmp_path / "rank_correlation.svg").exists()


def test_correlations_are_printed_as_a_table(rank_command, tmp_path, capsys):
    options = ["--sample", "6", "--images", "16", "--out", str(tmp_path)]
    assert main([*rank_command, *options]) == 0
    printed = capsys.readouterr().out
    assert "| supernet | table | Kendall's tau | Spearman's rho |\n|---" in printed
    assert "| loss | valid_accuracy_12_epochs | " in printed


@pytest.mark.parametrize(
    "options, message",
    [
        (["--sample", "2"], "--sample is 2, but must be at least 3"),
        (["--batch-stats", "none"], "batch_stats is 'none'"),
        (["--dataset", "cifar"], "Did you mean cifar10"),
    ],
)
def test_bad_options_of_a_rank_correlation_are_refused(
    options, message, rank_command, capsys
):
    assert main([*rank_command, *options]) == 2
    assert message in capsys.readouterr().err


def test_a_run_of_another_space_is_refused(tmp_path, capsys):
    (tmp_path / "config.json").write_text(json.dumps(as_dict(search_config("digits"))))
    table = tmp_path / "table.npz"
    table.write_bytes(b"")
    command = ["rank-correlation", str(tmp_path), "--table", str(table)]
    assert main(command) == 2
    assert "searched the space darts7" in capsys.readouterr().err
