"""A later selection beside an earlier one: what stays, and what is removed."""

import dataclasses

import numpy as np
import pytest

from egnas_jax.space import SPACES, derive, zoo
from egnas_jax.storage import records
from egnas_jax.studies.selection.agreement import agreement
from egnas_jax.studies.selection.cells import cell_of_edges, edges_of_cell
from egnas_jax.studies.selection.files import read_earlier, write
from egnas_jax.studies.selection.merge import merge
from egnas_jax.studies.selection.options import SelectionOptions
from egnas_jax.studies.selection.score import as_mixing
from egnas_jax.studies.selection.selectors import SELECTORS

DARTS7 = SPACES["darts7"]


def options(**changes):
    return dataclasses.asdict(SelectionOptions(batches=4, batch_size=96, **changes))


def rows(*names, mark="earlier"):
    return [{"selector": name, "mark": mark} for name in names]


def after(earlier_names, names, earlier_options=None, **changes):
    """A selection of some names, after one of others."""
    earlier = (earlier_options or options()) | {"selectors": rows(*earlier_names)}
    return merge(earlier, rows(*names, mark="new"), options(**changes))


def test_cells_of_other_selectors_stay_beside_the_new_ones():
    merged = after(SELECTORS, ["perturbation"])
    assert [row["selector"] for row in merged.rows] == list(SELECTORS)
    new = [row["selector"] for row in merged.rows if row["mark"] == "new"]
    assert new == ["perturbation"]
    assert merged.removed == [] and merged.options == options()


@pytest.mark.parametrize(
    "changes, removed",
    [
        ({"seeds": 3}, ["shapley"]),
        ({"criterion": "loss"}, ["leave-one-out", "local-search"]),
        ({"finetune": 5}, []),  # no other selector trains
        ({"seed": 1}, ["argmax", "shapley", "leave-one-out", "local-search"]),
    ],
)
def test_cells_that_were_selected_by_other_options_are_removed(changes, removed):
    merged = after(SELECTORS, ["perturbation"], **changes)
    assert merged.removed == removed
    assert {row["selector"] for row in merged.rows} == set(SELECTORS) - set(removed)
    assert merged.options == options(**changes)


def test_an_option_that_no_new_selector_uses_is_that_of_the_cells_that_stay():
    earlier = options(permutations=20, value="mean")
    merged = after(["shapley"], ["leave-one-out"], earlier, criterion="loss")
    assert [row["selector"] for row in merged.rows] == ["shapley", "leave-one-out"]
    expected = options(permutations=20, value="mean", criterion="loss")
    assert merged.options == expected


def test_without_an_earlier_selection_all_is_new():
    merged = merge({}, rows("shapley", "argmax"), options())
    assert [row["selector"] for row in merged.rows] == ["argmax", "shapley"]
    assert merged.options == options() and merged.removed == []


@pytest.mark.parametrize("name", ["darts7", "nasbench201"])
def test_a_cell_is_read_back_from_its_edges(name, random_cell):
    space = SPACES[name]
    cell, other = random_cell(space, 0), random_cell(space, 1)
    stored = edges_of_cell(space, cell)
    read = cell_of_edges(space, stored)
    assert edges_of_cell(space, read) == stored
    genotypes = [derive(space, as_mixing(space, each)) for each in (cell, read)]
    assert genotypes[0] == genotypes[1]
    np.testing.assert_array_equal(read.edges, cell.edges)
    assert agreement(read, other) == agreement(cell, other)


def stored(space, cell, *names):
    """The contents of a selection.json whose selectors have the same cell."""
    row = {
        "genotype": derive(space, as_mixing(space, cell)).format(),
        "cell": edges_of_cell(space, cell),
        "valid_accuracy": 0.5,
        "valid_loss": None,
        "seed_agreement": None,
        "seconds": 1.0,
        **dict.fromkeys(("params", "candidate_images", "trained_images"), 1),
    }
    table = [{"selector": name, **row} for name in names]
    result = {"digest": "d", "epochs": 2, **options(), "selectors": table}
    return result | {"agreement": []}


def test_genotypes_of_an_earlier_selection_are_removed_with_their_rows(
    tmp_path, random_cell
):
    (tmp_path / "selection_of_mine.json").write_text("{}")
    genotype = zoo["DARTS_V2"].genotype
    for names in (["argmax", "shapley"], ["shapley"]):
        result = stored(DARTS7, random_cell(DARTS7), *names)
        write(tmp_path, result, dict.fromkeys(names, genotype))
    files = {path.name for path in tmp_path.iterdir()}
    expected = {"selection.json", "selection.md", "selection_shapley.json"}
    assert files == expected | {"selection_of_mine.json"}
    # the criterion is of the selectors that are gone
    settings = (tmp_path / "selection.md").read_text().splitlines()[2]
    assert settings.startswith("Selected after 2 epochs; batches ")
    assert "permutations" in settings and "criterion" not in settings


def altered(row=(), **changes):
    """Changes the first row, or other contents."""

    def change(result):
        first, *others = result["selectors"]
        return result | {"selectors": [first | dict(row), *others]} | changes

    return change


@pytest.mark.parametrize(
    "change, message",
    [
        (altered(digest="e"), "of other weights"),
        (altered({"cell": {}}), "was altered, or is of an earlier version"),
        (altered({"selector": "gone"}), "was altered"),
        (altered({"genotype": "g"}), "was altered"),
        (altered(selectors=3), "was altered"),
        (lambda result: {"digest": "d"}, "was altered"),
    ],
)
def test_only_a_whole_selection_from_the_same_weights_stays(
    tmp_path, random_cell, change, message
):
    result = stored(DARTS7, random_cell(DARTS7), "argmax", "shapley")
    messages = []
    assert read_earlier(tmp_path, DARTS7, "d", messages.append) == {}
    records.write_json(tmp_path / "selection.json", result)
    assert read_earlier(tmp_path, DARTS7, "d", messages.append) == result
    assert messages == []
    records.write_json(tmp_path / "selection.json", change(result))
    assert read_earlier(tmp_path, DARTS7, "d", messages.append) == {}
    (text,) = messages
    assert message in text and "will be replaced" in text
