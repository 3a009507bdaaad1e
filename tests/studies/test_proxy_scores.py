"""A study of proxies scores each cell once, and ranks cells as a table does."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from egnas_jax.cli.main import main
from egnas_jax.space import SPACES, Topology
from egnas_jax.studies import proxy_scores
from egnas_jax.studies.nasbench201.read import read_table
from egnas_jax.studies.proxy_scores import ProxyStudy

NAMES = ("params", "snip")


@pytest.fixture
def scored(monkeypatch):
    """Cheap scores: sums of choices as `params`, other numbers drawn; the calls."""
    calls = []

    def score_cells(names, net, mixings, batch, keys):
        calls.append(len(keys))
        choices = np.argmax(np.asarray(mixings.primitives["cell"]), axis=-1)
        drawn = np.asarray(jax.vmap(jax.random.uniform)(keys))
        sums = choices.sum(axis=-1)
        return {name: sums if name == "params" else drawn for name in names}

    monkeypatch.setattr(proxy_scores, "score_cells", score_cells)
    monkeypatch.setattr(proxy_scores, "CHUNK", 4)
    return calls


@pytest.fixture
def table(tmp_path, write_table):
    """Test accuracies grow with the sum of a cell's choices."""

    def accuracies(cells):
        sums = cells.sum(axis=-1).astype(np.float32)
        return 50 - sums, 50 + sums

    write_table(tmp_path / "table.npz", accuracies)
    return str(tmp_path / "table.npz")


def run(study, folder, **options):
    folder.mkdir(exist_ok=True)
    batch, num_classes = proxy_scores.load_batch(study, None)
    return proxy_scores.score_study(study, batch, num_classes, folder, **options)


def test_an_interrupted_study_ends_with_the_scores_of_a_straight_one(scored, tmp_path):
    study = ProxyStudy("nasbench201", NAMES, 10)
    straight = run(study, tmp_path / "straight")
    assert scored == [4, 4, 4]  # the last chunk is filled up

    def stop(done):
        if done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(study, tmp_path / "other", on_chunk=stop)
    del scored[:]
    resumed = run(study, tmp_path / "other")
    assert scored == [4]
    for name in NAMES:
        np.testing.assert_array_equal(resumed[name], straight[name])
        assert len(resumed[name]) == 10
    assert len(set(resumed["snip"])) == 10  # every cell has a key of its own


def test_scores_of_another_study_are_refused(scored, tmp_path):
    run(ProxyStudy("nasbench201", NAMES, 5), tmp_path)
    with pytest.raises(ValueError, match=r"differs in .*seed \(0, asked 1\)"):
        run(ProxyStudy("nasbench201", NAMES, 5, seed=1), tmp_path)
    (tmp_path / "scores.npz").write_bytes(b"PK")
    with pytest.raises(ValueError, match="cannot be read as scores of proxies"):
        run(ProxyStudy("nasbench201", NAMES, 5), tmp_path)


SCORES = dict.fromkeys(NAMES, np.zeros(5))
DAMAGED = {
    "half of the file": {},
    "no object": {"study": "[1]"},
    "a negative number of cells": {"done": -4},
    "more cells than there are": {"done": 6},
    "fewer scores": {"snip": np.zeros(3)},
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_scores_are_refused(damage, tmp_path):
    path, study = tmp_path / "scores.npz", ProxyStudy("nasbench201", NAMES, 5)
    fingerprint = json.dumps(dataclasses.asdict(study))
    whole = {"study": fingerprint, "done": 5, **SCORES}
    np.savez(path, **whole)
    assert proxy_scores.read_scores(path, study, fingerprint)[0] == 5
    np.savez(path, **whole | DAMAGED[damage])
    if damage == "half of the file":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match="cannot be read as scores of proxies"):
        proxy_scores.read_scores(path, study, fingerprint)


def test_a_space_that_derives_other_cells_than_those_scored_is_refused(monkeypatch):
    def derive(space, mixing):
        return Topology.of_choices([3] * 6, space)

    own = dataclasses.replace(SPACES["nasbench201"], name="own", derive=derive)
    monkeypatch.setitem(SPACES, "own", own)
    with pytest.raises(ValueError, match="another cell than the one that is scored"):
        ProxyStudy("own", NAMES, 3)


def test_all_cells_of_the_benchmark_are_different():
    cells = proxy_scores.draw_cells(ProxyStudy("nasbench201", NAMES, 15625))
    choices = np.argmax(np.asarray(cells.primitives["cell"]), axis=-1)
    assert len(np.unique(choices, axis=0)) == 15625


def test_cells_of_darts_have_two_edges_a_node():
    study = ProxyStudy("darts7", NAMES, 3, layers=3)
    cells = proxy_scores.draw_cells(study)
    np.testing.assert_array_equal(np.asarray(cells.edges["normal"]).sum(axis=-1), 8)
    assert len(proxy_scores.genotypes(study, cells)[0].normal) == 8


def test_accuracies_are_those_of_the_cells(table):
    study = ProxyStudy("nasbench201", NAMES, 50)
    cells = proxy_scores.draw_cells(study)
    sums = np.argmax(np.asarray(cells.primitives["cell"]), axis=-1).sum(axis=-1)
    found = proxy_scores.accuracies(read_table(table, "cifar10"), cells)
    np.testing.assert_allclose(found, (50 + sums) / 100, rtol=1e-6)


def test_cells_without_a_score_rank_last():
    accuracy = np.arange(10.0)
    scores = np.arange(10.0)
    scores[0] = np.nan
    entry = proxy_scores.correlate({"a": scores}, accuracy, 0)["a"]
    assert entry["unscored"] == 1
    for name in ("kendall", "spearman"):
        assert entry[name]["value"] == pytest.approx(1.0)


def test_images_are_averaged_to_the_side():
    whole, _ = proxy_scores.load_batch(ProxyStudy("nasbench201", NAMES, 3), None)
    half, classes = proxy_scores.load_batch(
        ProxyStudy("nasbench201", NAMES, 3, image_size=4), None
    )
    assert (classes, half.images.shape) == (10, (16, 4, 4, 1))
    corner = np.asarray(whole.images)[:, :2, :2].mean(axis=(1, 2))
    np.testing.assert_allclose(half.images[:, 0, 0], corner, rtol=1e-5)
    np.testing.assert_array_equal(half.labels, whole.labels)


def test_the_command_prints_correlations_and_goes_on(scored, table, tmp_path, capsys):
    command = ["proxies", "--cells", "30", "--table", table]
    command += ["--proxy", "snip", "--out", str(tmp_path / "out")]
    assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    # the number of weights, with which proxies are compared, needs not be asked for
    assert lines[3].startswith("| params | 1.000 (1.000 to 1.000) | 1.000 (1.000")
    assert main(command) == 2
    assert "--resume" in capsys.readouterr().err
    del scored[:]
    assert main([*command, "--resume", "--json"]) == 0
    assert scored == [30]  # all cells are scored, and their weights counted anew
    result = json.loads(capsys.readouterr().out)
    assert len(result["cells"]) == len(result["scores"]["snip"]) == 30
    assert result["correlations"]["params"]["kendall"]["value"] == 1.0
    assert abs(result["correlations"]["snip"]["kendall"]["value"]) < 0.5


def test_the_command_goes_on_in_the_default_folder(
    scored, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    command = ["proxies", "--cells", "5", "--proxy", "params"]
    assert main(command) == 0
    del scored[:]
    assert main([*command, "--resume"]) == 0
    assert scored == []
    assert "runs/proxies-nasbench201/proxies.json" in capsys.readouterr().out
    assert main([*command, "--resume", "--seed", "1"]) == 2
    assert "seed (0, asked 1)" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("--cells 2", "--cells is '2'"),
        ("--cells some", "--cells is 'some'"),
        ("--cells 15626", "nasbench201 has 15625 cells"),
        ("--space darts7 --cells all", "--cells is all, but darts7"),
        ("--space darts7 --table t.npz", "--table is of nasbench201"),
        ("--space darts9", "Unknown space 'darts9'"),
        ("--proxy synflo", "Did you mean synflow"),
        ("--data digit", "Unknown data set 'digit'"),
        ("--table none.npz", "none.npz"),
        ("--table none.npz --dataset cifar11", "Did you mean cifar10"),
        ("--dataset nonsense", "Unknown data set of the table 'nonsense'"),
        ("--dataset cifar100", "there is no --table"),
        ("--resume", "out holds none"),
        ("--layers 6", "3 N + 2"),
        ("--image-size 6", "image_size is 6"),
        ("--image-size 16", "that 4 divides: give 4 or 8."),
        ("--batch-size 0", "batch_size is 0"),
        ("--batch-size 1", "batch_size is 1, but jacov compares images"),
        ("--batch-size 1 --proxy naswot", "needs at least 2"),
        ("--batch-size 4000", "--batch-size is 4000"),
        ("--seed -1", "seed is -1"),
    ],
)
def test_unusable_arguments_are_refused_before_anything_is_written(
    arguments, message, tmp_path, capsys
):
    out = tmp_path / "out"
    assert main(["proxies", *arguments.split(), "--out", str(out)]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()
