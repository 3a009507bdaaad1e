"""A search in the space of NAS-Bench-201, and what is made of it."""

import json

import numpy as np
import pytest

from egnas_jax.cli.main import main
from egnas_jax.nn.topology_cost import topology_params
from egnas_jax.runs.search_config import search_config
from egnas_jax.space import Topology

TINY = [
    "search",
    "--space",
    "nasbench201",
    "--set",
    "supernet.channels=4",
    "--set",
    "epochs=2",
    "--set",
    "batch_size=256",
    "--set",
    "strategy.population=4",
    "--set",
    "strategy.fitness_batch_size=32",
]


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A search of two epochs."""
    folder = tmp_path_factory.mktemp("search") / "run"
    assert main([*TINY, "--out", str(folder)]) == 0
    return folder


def test_the_space_brings_the_frame_of_the_benchmark():
    digits = search_config("digits", space="nasbench201").supernet
    assert (digits.layers, digits.channels, digits.partial_channels) == (5, 8, 1)
    cifar = search_config("cifar10", space="nasbench201").supernet
    assert (cifar.layers, cifar.channels, cifar.partial_channels) == (17, 16, 1)
    set_by_hand = search_config(
        space="nasbench201", settings={"supernet.partial_channels": 2}
    )
    assert set_by_hand.supernet.partial_channels == 2


def test_a_search_gives_a_cell_with_its_drawing_and_its_weights(searched, capsys):
    summary = json.loads((searched / "summary.json").read_text())
    cell = Topology.parse(summary["genotype"])
    assert Topology.from_json((searched / "genotype.json").read_text()) == cell
    assert summary["params"] == topology_params(cell)
    assert summary["epochs"] == 2
    assert main(["derive", str(searched)]) == 0
    assert capsys.readouterr().out.strip() == cell.format()
    assert "A cell of NAS-Bench-201" in (searched / "genotype.svg").read_text()


def test_the_cell_is_drawn_and_not_retrained(searched, tmp_path, capsys):
    out = tmp_path / "cell.svg"
    assert main(["draw", str(searched), "--out", str(out)]) == 0
    assert out.read_text() == (searched / "genotype.svg").read_text()
    assert main(["retrain", "--genotype", str(searched)]) == 2
    assert "is a cell of NAS-Bench-201" in capsys.readouterr().err


def test_a_search_replays_to_the_same_digests(searched, capsys):
    assert main(["verify", str(searched), "--from-start"]) == 0
    assert "every digest is the same" in capsys.readouterr().out


def test_it_is_reported(searched, tmp_path):
    assert main(["report", str(searched), "--out", str(tmp_path / "report")]) == 0
    cell = Topology.from_json((searched / "genotype.json").read_text())
    assert cell.format() in (tmp_path / "report" / "report.md").read_text()
    (data,) = (tmp_path / "report").rglob("cell*.csv")
    primitives = [line.split(",")[2] for line in data.read_text().splitlines()[1:]]
    assert primitives == list(cell.primitives)


def test_its_supernet_ranks_cells_beside_a_table(
    searched, write_table, tmp_path, capsys
):
    table = tmp_path / "table.npz"
    write_table(table, lambda cells: (cells.sum(1) + 20.0, cells.sum(1) + 30.0))
    command = ["rank-correlation", str(searched), "--table", str(table)]
    out = tmp_path / "ranks"
    more = ["--sample", "6", "--images", "16", "--out", str(out), "--json"]
    assert main([*command, *more]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result == json.loads((out / "rank_correlation.json").read_text())
    assert (result["cells"], result["images"], result["epochs"]) == (6, 16, 2)
    sums = [sum(Topology.parse(t).choices) for t in result["sample"]["cell"]]
    np.testing.assert_allclose(
        result["sample"]["test_accuracy_200_epochs"],
        (np.asarray(sums) + 30) / 100,
        rtol=1e-6,
    )
    assert (out / "rank_correlation.svg").exists()
    for arguments, message in (
        (["--sample", "2"], "--sample is 2, but must be at least 3"),
        (["--batch-stats", "none"], "batch_stats is 'none'"),
        (["--dataset", "cifar"], "Did you mean cifar10"),
    ):
        assert main([*command, *arguments]) == 2
        assert message in capsys.readouterr().err


def test_a_run_of_another_space_is_refused(tmp_path, capsys):
    from egnas_jax.settings import as_dict

    (tmp_path / "config.json").write_text(json.dumps(as_dict(search_config("digits"))))
    table = tmp_path / "table.npz"
    table.write_bytes(b"")
    command = ["rank-correlation", str(tmp_path), "--table", str(table)]
    assert main(command) == 2
    assert "searched the space darts7" in capsys.readouterr().err
