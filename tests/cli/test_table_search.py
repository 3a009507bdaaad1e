"""`egnas table-search`, from its arguments to its files."""

import contextlib
import csv
import io
import json

import numpy as np
import pytest

from egnas_jax.cli.main import main
from egnas_jax.studies.nasbench201 import table_search
from egnas_jax.studies.nasbench201.table_search_config import (
    FIRST_CELLS,
    IMAGE_OPTIONS,
)

# those whose programs compile in seconds; test_table_methods.py runs the others
METHODS = ["egnas", "egnas", "random_search", "ageing_evolution", "reinforce"]
CHOSEN = "".join(f"--strategy {name} " for name in METHODS)
SIZES = "--runs 4 --queries 30 --set egnas.population=4 --sweep egnas.eta=0,1"
SEARCH = f"{CHOSEN} {SIZES} --out"


@pytest.fixture(scope="module")
def command(convolution_table):
    """`egnas table-search` with a table in which only 3x3 convolutions count."""
    return ["table-search", "--table", str(convolution_table)]


@pytest.fixture(scope="module")
def search(command, tmp_path_factory):
    """Folder of a search by some methods, and what the command printed."""
    out, stdout, stderr = (
        tmp_path_factory.mktemp("search"),
        io.StringIO(),
        io.StringIO(),
    )
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        assert main([*command, *SEARCH.split(), str(out)]) == 0
    return out, stdout.getvalue(), stderr.getvalue()


@pytest.fixture
def results(search):
    """Folder of the search."""
    return search[0]


@pytest.mark.parametrize("place", ["file", "file/below/it"])
def test_an_unwritable_place_is_refused_before_the_search(
    place, command, tmp_path, capsys, monkeypatch
):
    (tmp_path / "file").touch()
    monkeypatch.setattr(table_search, "run_method", lambda *_: pytest.fail("searched"))
    assert main([*command, "--out", str(tmp_path / place)]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


@pytest.mark.slow
def test_the_final_regrets_are_printed(search):
    _, output, messages = search
    assert "| egnas (eta 1) | 4 | 30 |" in output
    assert "optimum of 90.00 %" in output
    # in this table the best cell by validation is the best by test
    selected = "by validation accuracy (the mean of those that tie) has 0.000."
    assert selected in output
    assert "egnas: 8 runs of 30 queries in" in messages


@pytest.mark.slow
def test_curves_of_every_method_and_setting_are_written(results):
    result = json.loads((results / "curves.json").read_text())
    assert [entry["method"] for entry in result["entries"]] == METHODS
    for entry in result["entries"]:
        regret = entry["curves"]["test_regret"]
        assert entry["queries"][-1] == 30
        assert (np.diff(regret["mean"]) <= 1e-6).all()  # both accuracies rank alike
        assert (np.asarray(regret["low"]) <= np.asarray(regret["mean"])).all()
        means = {name: interval["mean"] for name, interval in entry["final"].items()}
        expected = pytest.approx(result["optimum"] - means["test_accuracy"])
        assert means["test_regret"] == expected
        expected = pytest.approx(means["valid_accuracy"] + 0.1, abs=1e-6)
        assert means["test_accuracy"] == expected
    assert "random_search" in (results / "curves.svg").read_text()


@pytest.mark.slow
def test_entries_state_their_settings_and_the_accuracy_of_the_answer(results):
    result = json.loads((results / "curves.json").read_text())
    for entry in result["entries"]:
        options = result["config"][entry["method"]] | entry["setting"]
        assert entry["settings"].items() <= options.items()
        # what concerns images, races and limits has no meaning in a table
        of_images = {"race", "limit", *IMAGE_OPTIONS}
        absent = of_images if entry["method"] == "egnas" else set()
        assert set(options) - set(entry["settings"]) == absent
        accuracy = entry["test_accuracy"]
        expected = 100 * (result["optimum"] - entry["answer_regret"]["mean"])
        assert accuracy["mean"] == pytest.approx(expected)
        assert accuracy["low"] <= accuracy["mean"] <= accuracy["high"]
        assert (accuracy["n"], accuracy["sd"] >= 0) == (4, True)


@pytest.mark.slow
def test_the_csv_file_holds_the_points_of_the_curves(results):
    result = json.loads((results / "curves.json").read_text())
    with open(results / "curves.csv", newline="") as file:
        last = [row for row in csv.DictReader(file) if row["queries"] == "30"]
    assert [row["method"] for row in last] == METHODS
    assert [row["eta"] for row in last] == ["0.0", "1.0", *[""] * 3]
    regret = result["entries"][2]["final"]["test_regret"]["mean"]
    assert float(last[2]["test_regret_mean"]) == pytest.approx(regret)


@pytest.mark.parametrize(
    "options, message",
    [
        (["--strategy", "ageing_evolutio"], "Did you mean ageing_evolution"),
        (["--strategy", "random_search", "--sweep", "egnas.eta=0,1"], "leaves out"),
        (["--strategy", "reinforce", "--variant", "revised"], "--variant is of egnas"),
        (
            ["--strategy", "random_search", "--set", "nsga2.population=30"],
            "--set nsga2.population=30 sets an option of nsga2, which",
        ),
        (
            # where it is not refused, the test ends at once
            ["--print-config", "--set", "nasnet_ppo.clip=0"],
            "nasnet_ppo.clip is 0.0",
        ),
        (["--queries", "67"], "An exploration of egnas evaluates 68 cells, but a run"),
        *[
            (
                ["--strategy", name, "--queries", "50", "--set", f"{name}.{option}=50"],
                f"{name}.{option} is 50, but a run has 50 queries",
            )
            for name, option in FIRST_CELLS.items()
        ],
        (["--dataset", "cifar100"], "has no `ep12_cifar100_val`"),
        (["--out", ""], "--out is empty"),
        (["--variant", "papr"], "Did you mean paper"),
    ],
)
def test_bad_options_of_a_table_search_are_refused(command, capsys, options, message):
    assert main([*command, *options]) == 2
    assert message in capsys.readouterr().err
