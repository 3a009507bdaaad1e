"""`egnas table-search` from arguments to files."""

import csv
import json

import numpy as np
import pytest

from egnas_jax.cli.main import main
from egnas_jax.studies.nasbench201 import search


@pytest.fixture(scope="module")
def table_file(tmp_path_factory, write_table):
    """A table in which only the number of 3x3 convolutions counts."""
    path = tmp_path_factory.mktemp("table") / "table.npz"

    def accuracies(cells):
        counts = (cells == 3).sum(axis=1)
        return (10 * counts + 20).astype("f4"), (10 * counts + 30).astype("f4")

    write_table(path, accuracies)
    return str(path)


@pytest.mark.parametrize("place", ["file", "file/below/it"])
def test_a_place_that_cannot_be_written_is_refused_before_the_work(
    place, table_file, tmp_path, capsys, monkeypatch
):
    (tmp_path / "file").touch()
    monkeypatch.setattr(search, "run_method", lambda *_: pytest.fail("it searched"))
    out = str(tmp_path / place)
    assert main(["table-search", "--table", table_file, "--out", out]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_a_table_search_writes_its_figures(table_file, tmp_path, capsys):
    out = tmp_path / "out"
    command = [
        "table-search",
        "--table",
        table_file,
        "--runs",
        "4",
        "--queries",
        "30",
        "--set",
        "egnas.population=4",
        "--sweep",
        "egnas.eta=0,1",
        "--out",
        str(out),
    ]
    assert main(command) == 0
    printed = capsys.readouterr()
    assert "| egnas (eta 1) | 4 | 30 |" in printed.out
    assert "optimum of 90.00 %" in printed.out
    # here the best by validation is the best
    assert (
        "by validation accuracy (the mean of those that tie) has 0.000." in printed.out
    )
    assert "egnas: 8 runs of 30 queries in" in printed.err
    whole = json.loads((out / "curves.json").read_text())
    methods = [entry["method"] for entry in whole["entries"]]
    assert methods == ["egnas", "egnas", "random_search", "ageing_evolution"]
    for entry in whole["entries"]:
        regret = entry["curves"]["test_regret"]
        assert entry["queries"][-1] == 30
        assert (np.diff(regret["mean"]) <= 1e-6).all()  # here both accuracies agree
        assert (np.asarray(regret["low"]) <= np.asarray(regret["mean"])).all()
        final = entry["final"]
        assert final["test_regret"]["mean"] == pytest.approx(
            whole["optimum"] - final["test_accuracy"]["mean"]
        )
        assert final["test_accuracy"]["mean"] == pytest.approx(
            final["valid_accuracy"]["mean"] + 0.1, abs=1e-6
        )
    with open(out / "curves.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    last = [line for line in lines if line["queries"] == "30"]
    assert [line["method"] for line in last] == methods
    assert [line["eta"] for line in last] == ["0.0", "1.0", "", ""]
    assert float(last[2]["test_regret_mean"]) == pytest.approx(
        whole["entries"][2]["final"]["test_regret"]["mean"]
    )
    assert (out / "curves.svg").read_text().count("random_search") >= 1


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--strategy", "ageing_evolutio"], "Did you mean ageing_evolution"),
        (["--strategy", "random_search", "--sweep", "egnas.eta=0,1"], "leaves out"),
        (["--dataset", "cifar100"], "has no `ep12_cifar100_val`"),
        (["--out", ""], "--out is empty"),
        (["--variant", "papr"], "Did you mean paper"),
    ],
)
def test_unusable_arguments_of_a_table_search_end_with_2(
    table_file, capsys, arguments, message
):
    assert main(["table-search", "--table", table_file, *arguments]) == 2
    assert message in capsys.readouterr().err
