"""The scores of a proxy stand in for the validation accuracies of the table."""

import json

import numpy as np
import pytest

from egnas_jax.cli.main import main
from egnas_jax.space import Topology
from egnas_jax.studies.nasbench201 import table_search
from egnas_jax.studies.nasbench201.scored_table import read_scores, with_scores


@pytest.fixture(scope="module")
def score_file(table, tmp_path_factory):
    """proxies.json of all cells in another order: the number of 1x1 convolutions."""
    order = np.random.default_rng(1).permutation(len(table.choices))
    choices = np.asarray(table.choices)[order]
    counts = (choices == 2).sum(axis=1)
    scores = [
        None if row[0] == 0 else float(n)
        for row, n in zip(choices, counts, strict=True)
    ]
    cells = [Topology.of_choices(row.tolist()).format() for row in choices]
    path = tmp_path_factory.mktemp("scores") / "proxies.json"
    path.write_text(json.dumps({"scores": {"naswot": scores}, "cells": cells}))
    return path


def test_scores_are_put_in_the_order_of_the_table(table, score_file):
    scores = read_scores(score_file, "naswot", table)
    choices = np.asarray(table.choices)
    missing = choices[:, 0] == 0
    assert np.isnan(scores[missing]).all()
    counts = (choices == 2).sum(axis=1)
    np.testing.assert_array_equal(scores[~missing], counts[~missing])


def test_a_search_sees_the_share_of_cells_with_a_lower_score(table):
    scores = np.zeros(15_625)
    scores[:2], scores[2] = 7.0, np.nan
    searched = with_scores(table, scores)
    assert searched.valid[2] == 0
    np.testing.assert_allclose(searched.valid[3:], 1 / 15_625)
    np.testing.assert_allclose(searched.valid[:2], 15_623 / 15_625)
    np.testing.assert_array_equal(searched.test, table.test)


def run(table_file, score_file, *words):
    place = ["--table", str(table_file), "--scores", str(score_file), *words]
    return main(["table-search", *place, "--strategy", "random_search"])


@pytest.mark.slow
def test_the_command_searches_by_scores(table_file, score_file, tmp_path, capsys):
    """Six 1x1 convolutions are best by test, and by these scores."""
    sizes = "--proxy naswot --runs 2 --queries 300 --json --out".split()
    assert run(table_file, score_file, *sizes, str(tmp_path)) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["proxy"] == "naswot" and result["best_by_validation_regret"] == 0
    assert result["entries"][0]["final"]["score"]["mean"] > 0.95


def test_the_command_says_that_searches_see_scores(
    table_file, score_file, tmp_path, capsys, monkeypatch
):
    def run_method(table, config, name, settings, at_queries):
        shape = len(settings), config.runs
        curve = np.full((*shape, len(at_queries)), 0.5)
        return table_search.Curves(curve, curve, np.full(shape, 0.5))

    monkeypatch.setattr(table_search, "run_method", run_method)
    words = ["--proxy", "naswot", "--runs", "2", "--queries", "3"]
    assert run(table_file, score_file, *words, "--out", str(tmp_path)) == 0
    printed = capsys.readouterr().out
    assert "best cell by the score of naswot, the answer" in printed
    assert "validation accuracy" not in printed
    entry = json.loads((tmp_path / "curves.json").read_text())["entries"][0]
    assert set(entry["curves"]) == {"score", "test_accuracy", "test_regret"}
    assert "valid_accuracy" not in (tmp_path / "curves.csv").read_text()


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda file: file.update(scores=None), "holds no scores of cells"),
        (lambda file: file.update(cells=None), "holds no scores of cells"),
        (lambda file: file["cells"].append(file["cells"][0]), "each once"),
        (lambda file: file["scores"].update(naswot=7), "must be 15625 numbers"),
        (lambda file: file["scores"]["naswot"].pop(), "must be 15625 numbers"),
        (
            lambda file: file["scores"].update(naswot=[None] * 15_625),
            "and not all null",
        ),
    ],
)
def test_a_file_that_was_altered_is_refused(
    change, message, table, score_file, tmp_path
):
    altered = json.loads(score_file.read_text())
    change(altered)
    (tmp_path / "proxies.json").write_text(json.dumps(altered))
    with pytest.raises(ValueError, match=message):
        read_scores(tmp_path / "proxies.json", "naswot", table)


@pytest.mark.parametrize(
    "contents, proxy, message",
    [
        (None, "naswo", "Did you mean naswot"),
        (None, "zen", "has no scores by zen; it has naswot"),
        (None, None, "give both, or neither"),
        ("[]", "naswot", "cannot be read as a JSON object"),
        ('{"scores": {"naswot": [1.0]}, "cells": []}', "naswot", "of all 15625"),
        ('{"scores": {"naswot": [1]}, "cells": ["x"]}', "naswot", "another space"),
    ],
)
def test_a_file_without_the_scores_is_refused_before_a_search(
    contents, proxy, message, table_file, score_file, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(table_search, "run_method", lambda *_: pytest.fail("searched"))
    if contents is not None:
        score_file = tmp_path / "proxies.json"
        score_file.write_text(contents)
    words = [] if proxy is None else ["--proxy", proxy]
    assert run(table_file, score_file, *words, "--out", str(tmp_path / "out")) == 2
    assert message in capsys.readouterr().err
